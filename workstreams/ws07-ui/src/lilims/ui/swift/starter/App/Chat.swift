import Foundation
import LilimsKit
import Observation
import os

/// One conversation with one model: what was said, what is being said, and how fast.
@MainActor @Observable
final class Chat {
    struct Entry: Identifiable {
        let id = UUID()
        let role: Message.Role
        var text: String
    }

    private(set) var entries: [Entry] = []
    private(set) var model: LanguageModel?
    private(set) var opening = false
    private(set) var tokensPerSecond: Double?
    private(set) var firstToken: Double?
    var problem: String?
    var instructions = ""
    var sampling = SamplingParameters()
    var maxTokens = 512
    private var answering: Task<Void, Never>?
    private let signposter = OSSignposter(subsystem: "lilims", category: "Generation")

    var isAnswering: Bool { answering != nil }

    /// Opens a model; one at a time, as two would need the memory of both.
    func open(_ folder: ModelFolder, in library: Library) async {
        guard !opening else { return }
        opening = true
        defer { opening = false }
        stop()
        await answering?.value
        do {
            model = nil  // its memory first
            let opened = try await library.store().open(folder)
            try await opened.warmUp()
            model = opened
            entries = []
            sampling = folder.starter.sampling
            if sampling.temperature == 0 { sampling.temperature = 0.8 }
        } catch {
            problem = error.localizedDescription
        }
    }

    /// Asks; false where nobody can answer now, and the text is still the writer's.
    func send(_ text: String) -> Bool {
        guard let model, !opening, answering == nil, !text.isEmpty else { return false }
        entries.append(Entry(role: .user, text: text))
        entries.append(Entry(role: .assistant, text: ""))
        answering = Task {
            await BackgroundTime.during("Answer") { await self.answer(model) }
            self.answering = nil
        }
        return true
    }

    func stop() { answering?.cancel() }

    func clear() {
        stop()
        entries = []
    }

    private func answer(_ model: LanguageModel) async {
        let interval = signposter.beginInterval("Answer")
        defer { signposter.endInterval("Answer", interval) }
        let clock = ContinuousClock(), begun = clock.now
        var announcer = Announcer(), count = 0, first = begun
        do {
            for try await token in try stream(model) {
                if count == 0 { first = clock.now }
                count += 1
                show(token.text)
                announcer.hear(token.text)
                firstToken = (first - begun).seconds
                if count > 1 { tokensPerSecond = Double(count - 1) / max((clock.now - first).seconds, 1e-6) }
            }
        } catch is CancellationError {
        } catch {
            problem = error.localizedDescription
        }
        announcer.finish()
    }

    private func stream(_ model: LanguageModel) throws -> TokenStream {
        let said = entries.dropLast()
        guard model.chats else {  // such a model goes on with the text
            return try model.complete(said.last?.text ?? "", sampling: sampling, maxTokens: maxTokens)
        }
        let told = instructions.isEmpty || !model.takesInstructions ? [] : [Message(.system, instructions)]
        let messages = told + said.map { Message($0.role, $0.text) }
        return try model.answer(messages, sampling: sampling, maxTokens: maxTokens)
    }

    private func show(_ text: String) {
        guard let last = entries.indices.last, entries[last].role == .assistant else { return }
        entries[last].text += text
    }
}

extension Duration {
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
