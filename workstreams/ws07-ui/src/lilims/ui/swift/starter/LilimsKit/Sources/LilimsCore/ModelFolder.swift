import Foundation

/// A model as `lilims export --to swift` writes it: manifest.json, starter.json, packages, perhaps an embedding.
public struct ModelFolder: Sendable {
    public let url: URL
    public let manifest: Manifest
    public let starter: Starter

    /// The ending of such folders.
    public static let suffix = "lilims"

    public init(_ url: URL) throws {
        self.url = url
        manifest = try Manifest.read(ModelFolder.content(url, "manifest.json", limit: 16 << 20), in: url.lastPathComponent)
        starter = try Starter.read(ModelFolder.content(url, "starter.json", limit: 256 << 20))
        guard starter.stopTokens.allSatisfy({ $0 >= 0 }) else { throw Failure("a stop token is none", in: "starter.json") }
    }

    /// Whether every file of the manifest is there with its size; `hash` gives a file's SHA-256 where that is wanted too.
    public func verify(hash: ((URL) throws -> String)? = nil) throws {
        for (name, file) in manifest.files.sorted(by: { $0.key < $1.key }) {
            let path = url.appending(path: name)
            let values = try? path.resourceValues(forKeys: [.fileSizeKey, .isSymbolicLinkKey, .isRegularFileKey])
            guard values?.isRegularFile == true, values?.isSymbolicLink != true, values?.fileSize == file.bytes else {
                throw Failure("is missing or has another size", in: name, next: "Import the model again")
            }
            if let hash, try hash(path) != file.sha256 {
                throw Failure("is not what it was when it was exported", in: name, next: "Import the model again")
            }
        }
    }

    private static func content(_ folder: URL, _ name: String, limit: Int) throws -> Data {
        let url = folder.appending(path: name)
        guard let size = try? url.resourceValues(forKeys: [.fileSizeKey]).fileSize else {
            throw Failure("there is no \(name)", in: folder.lastPathComponent, next: "Choose a folder that lilims exported")
        }
        guard size <= limit else { throw Failure("larger than \(limit) bytes", in: name) }
        return try Data(contentsOf: url)
    }
}
