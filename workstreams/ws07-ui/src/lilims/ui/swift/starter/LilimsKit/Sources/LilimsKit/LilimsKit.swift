/// Language models of the contract `lilims.decoder/1` on Core ML. docs/swift.md of lilims is the guide.
@_exported import LilimsCore
