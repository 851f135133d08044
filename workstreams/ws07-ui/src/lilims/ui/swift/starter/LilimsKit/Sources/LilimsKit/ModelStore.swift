#if canImport(CoreML)
import CoreML
import CryptoKit
import Foundation
import LilimsCore

/// Where models lie: those in the app, and those that were imported, with what Core ML made of both.
///
///     Application Support/Lilims/Models/NAME@VERSION.lilims      imported
///     Application Support/Lilims/Compiled/<digest>-<system>/     compiled once a model and version of the system
public struct ModelStore: Sendable {
    public let root: URL
    private let bundled: URL?

    /// - Parameter bundled: a folder of models that came with the app.
    public init(root: URL? = nil, bundled: URL? = Bundle.main.url(forResource: "Models", withExtension: nil)) throws {
        let support = try FileManager.default.url(
            for: .applicationSupportDirectory, in: .userDomainMask, appropriateFor: nil, create: true
        )
        self.root = root ?? support.appending(path: "Lilims", directoryHint: .isDirectory)
        self.bundled = bundled
        try FileManager.default.createDirectory(at: self.root, withIntermediateDirectories: true)
    }

    private var models: URL { root.appending(path: "Models", directoryHint: .isDirectory) }
    private var compilations: URL { root.appending(path: "Compiled", directoryHint: .isDirectory) }

    /// All models that can be read, those in the app first.
    public func folders() -> [ModelFolder] {
        [bundled, models].compactMap { $0 }.flatMap { place -> [ModelFolder] in
            let found = try? FileManager.default.contentsOfDirectory(at: place, includingPropertiesForKeys: nil)
            let named = (found ?? []).filter { $0.pathExtension == ModelFolder.suffix && !$0.lastPathComponent.hasPrefix(".") }
            return named.sorted { $0.lastPathComponent < $1.lastPathComponent }.compactMap { try? ModelFolder($0) }
        }
    }

    public func isImported(_ folder: ModelFolder) -> Bool {
        // A folder's listing may spell /private/var where its own address has /var.
        folder.url.deletingLastPathComponent().resolvingSymlinksInPath().path == models.resolvingSymlinksInPath().path
    }

    /// Copies a model that the user has chosen, checks every byte of the copy, and only then lets it be seen, in the place of
    /// an older import if there is one. The copy is made where the system clears away what an app that was ended left.
    public func `import`(_ source: URL) throws -> ModelFolder {
        let scoped = source.startAccessingSecurityScopedResource()
        defer { if scoped { source.stopAccessingSecurityScopedResource() } }
        let manifest = try ModelFolder(source).manifest, files = FileManager.default
        let name = "\(manifest.name)@\(manifest.version).\(ModelFolder.suffix)"
        guard !name.contains("/"), !name.hasPrefix(".") else { throw Failure("\(name) is no name", in: "manifest.json") }
        try files.createDirectory(at: models, withIntermediateDirectories: true)
        let scratch = try files.url(
            for: .itemReplacementDirectory, in: .userDomainMask, appropriateFor: models, create: true
        )
        defer { try? files.removeItem(at: scratch) }
        var copy = scratch.appending(path: name, directoryHint: .isDirectory)
        try files.createDirectory(at: copy, withIntermediateDirectories: true)
        for file in ["manifest.json"] + manifest.files.keys.sorted() {
            let target = copy.appending(path: file)
            try files.createDirectory(at: target.deletingLastPathComponent(), withIntermediateDirectories: true)
            try files.copyItem(at: source.appending(path: file), to: target)
        }
        try ModelFolder(copy).verify(hash: ModelStore.sha256)
        var values = URLResourceValues()
        values.isExcludedFromBackup = true  // it can be had again
        try copy.setResourceValues(values)
        let target = models.appending(path: name, directoryHint: .isDirectory)
        if files.fileExists(atPath: target.path) {
            _ = try files.replaceItemAt(target, withItemAt: copy, options: .usingNewMetadataOnly)
        } else {
            try files.moveItem(at: copy, to: target)
        }
        return try ModelFolder(target)
    }

    /// Removes an imported model and what was compiled of it.
    public func remove(_ folder: ModelFolder) throws {
        guard isImported(folder) else { throw Failure("the model is part of the app", in: folder.manifest.name) }
        let digest = try digest(folder)  // of a file that is gone afterwards
        try FileManager.default.removeItem(at: folder.url)
        forget(digest)
    }

    /// Removes what was compiled of a model, but for one version of the system.
    private func forget(_ digest: String, but kept: URL? = nil) {
        let found = try? FileManager.default.contentsOfDirectory(at: compilations, includingPropertiesForKeys: nil)
        for place in found ?? [] where place.lastPathComponent.hasPrefix(digest) && place.lastPathComponent != kept?.lastPathComponent {
            try? FileManager.default.removeItem(at: place)
        }
    }

    /// Opens a model: its packages compiled, nothing loaded yet.
    public func open(_ folder: ModelFolder, policy: ContextPolicy? = nil) async throws -> LanguageModel {
        try folder.verify()
        var compiled: [String: URL] = [:]
        for part in folder.manifest.packages {
            compiled[part.package] = try await self.compiled(part.package, of: folder)
        }
        return try LanguageModel(folder, executor: CoreMLExecutor(folder, compiled: compiled), policy: policy)
    }

    private func compiled(_ package: String, of folder: ModelFolder) async throws -> URL {
        let files = FileManager.default, place = try compiledFolder(folder)
        let target = place.appending(path: package.replacingOccurrences(of: "/", with: "-") + ".mlmodelc")
        if files.fileExists(atPath: target.path) { return target }
        let made = try await MLModel.compileModel(at: folder.url.appending(path: package))
        try forget(digest(folder), but: place)  // an older system's
        try files.createDirectory(at: place, withIntermediateDirectories: true)
        do {
            try files.moveItem(at: made, to: target)
        } catch CocoaError.fileWriteFileExists {
            try? files.removeItem(at: made)  // somebody else was faster
        }
        return target
    }

    private func compiledFolder(_ folder: ModelFolder) throws -> URL {
        let system = ProcessInfo.processInfo.operatingSystemVersionString.filter { $0.isASCII && ($0.isLetter || $0.isNumber) }
        return compilations.appending(path: try digest(folder) + "-" + system, directoryHint: .isDirectory)
    }

    /// What tells a model from others: half of its manifest's SHA-256.
    private func digest(_ folder: ModelFolder) throws -> String {
        let manifest = try Data(contentsOf: folder.url.appending(path: "manifest.json"))
        return String(ModelStore.hexadecimal(SHA256.hash(data: manifest)).prefix(32))
    }

    @Sendable static func sha256(_ url: URL) throws -> String {
        let file = try FileHandle(forReadingFrom: url)
        defer { try? file.close() }
        var hash = SHA256()
        while let block = try file.read(upToCount: 1 << 20), !block.isEmpty { hash.update(data: block) }
        return hexadecimal(hash.finalize())
    }

    private static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
        bytes.map { String(format: "%02x", $0) }.joined()
    }
}
#endif
