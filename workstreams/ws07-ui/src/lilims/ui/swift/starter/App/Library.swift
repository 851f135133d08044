import Foundation
import LilimsKit
import Observation

/// The models that there are: in the app, and imported.
@MainActor @Observable
final class Library {
    private(set) var folders: [ModelFolder] = []
    private(set) var importing = false
    var problem: String?
    private var opened: ModelStore?

    func store() throws -> ModelStore {
        if let opened { return opened }
        let store = try ModelStore()
        opened = store
        return store
    }

    func refresh() {
        do {
            folders = try store().folders()
        } catch {
            problem = error.localizedDescription
        }
    }

    /// Copies a folder that the user has chosen, off the main thread: it may be gigabytes.
    func add(_ url: URL) async {
        importing = true
        defer { importing = false }
        do {
            let store = try store()
            _ = try await Task.detached { try store.import(url) }.value
            refresh()
        } catch {
            problem = error.localizedDescription
        }
    }

    func remove(_ folder: ModelFolder) {
        do {
            try store().remove(folder)
            refresh()
        } catch {
            problem = error.localizedDescription
        }
    }
}

extension ModelFolder: @retroactive Identifiable {
    public var id: URL { url }

    /// The size on disk, as a person reads it.
    var size: String {
        ByteCountFormatter.string(fromByteCount: Int64(manifest.files.values.map(\.bytes).reduce(0, +)), countStyle: .file)
    }
}
