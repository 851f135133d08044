import LilimsKit
import SwiftUI

struct ChatView: View {
    @Bindable var chat: Chat
    @Bindable var library: Library
    @State private var draft = ""
    @State private var showsSettings = false
    @State private var showsModels = false

    var body: some View {
        NavigationStack {
            VStack(spacing: 0) {
                transcript
                status
                composer
            }
            .navigationTitle(chat.model?.folder.manifest.name ?? String(localized: "Lilims"))
            .toolbar {
                ToolbarItem { Button("Models", systemImage: "square.stack") { showsModels = true }.accessibilityIdentifier("models") }
                ToolbarItem { Button("Settings", systemImage: "slider.horizontal.3") { showsSettings = true }.accessibilityIdentifier("settings") }
                ToolbarItem { Button("New conversation", systemImage: "square.and.pencil") { chat.clear() } }
            }
            .sheet(isPresented: $showsModels) { ModelsView(chat: chat, library: library) }
            .sheet(isPresented: $showsSettings) { SettingsView(chat: chat) }
            .alert("That did not work", isPresented: problem) {} message: { Text(chat.problem ?? library.problem ?? "") }
        }
    }

    private var transcript: some View {
        ScrollViewReader { proxy in
            ScrollView {
                LazyVStack(alignment: .leading, spacing: 12) {
                    ForEach(chat.entries) { entry in EntryView(entry: entry).id(entry.id) }
                }
                .padding()
            }
            .onChange(of: chat.entries.last?.text) {
                if let last = chat.entries.last { proxy.scrollTo(last.id, anchor: .bottom) }
            }
        }
    }

    @ViewBuilder private var status: some View {
        if chat.opening {
            ProgressView("Preparing the model. The first time takes longest.").padding()
        } else if let speed = chat.tokensPerSecond {
            Text("\(speed, format: .number.precision(.fractionLength(1))) tokens/s")
                .font(.caption.monospacedDigit())
                .foregroundStyle(.secondary)
                .accessibilityIdentifier("speed")
                .accessibilityValue(chat.isAnswering ? "answering" : "done")
        }
    }

    private var composer: some View {
        HStack(alignment: .bottom) {
            TextField(chat.model?.chats == false ? "The beginning of a story" : "Message", text: $draft, axis: .vertical)
                .lineLimit(1...6)
                .textFieldStyle(.roundedBorder)
                .onSubmit(send)
                .accessibilityIdentifier("draft")
            if chat.isAnswering {
                Button("Stop", systemImage: "stop.circle.fill") { chat.stop() }.accessibilityIdentifier("stop")
            } else {
                Button("Send", systemImage: "arrow.up.circle.fill", action: send)
                    .disabled(chat.model == nil || draft.isEmpty)
                    .keyboardShortcut(.return, modifiers: .command)
                    .accessibilityIdentifier("send")
            }
        }
        .labelStyle(.iconOnly)
        .imageScale(.large)
        .padding()
    }

    private var problem: Binding<Bool> {
        Binding(
            get: { chat.problem != nil || (library.problem != nil && !showsModels) },  // a sheet shows its own
            set: { _ in
                chat.problem = nil
                library.problem = nil
            }
        )
    }

    private func send() {
        if chat.send(draft) { draft = "" }
    }
}

struct EntryView: View {
    let entry: Chat.Entry

    var body: some View {
        VStack(alignment: .leading, spacing: 2) {
            Text(entry.role == .user ? "You" : "Model").font(.caption).foregroundStyle(.secondary)
            Text(verbatim: entry.text).textSelection(.enabled)  // never Markdown: a model's links are not to be trusted
        }
        .frame(maxWidth: .infinity, alignment: .leading)
        .accessibilityElement(children: .combine)
        .accessibilityIdentifier(entry.role == .user ? "question" : "answer")
    }
}
