#if canImport(CoreML)
import CoreML
import XCTest

@testable import LilimsKit

/// What needs Core ML or Apple's systems: arrays with strides, and models on disk.
final class StoreTests: XCTestCase {
    func testArraysTakeTheTypeThatIsAskedFor() throws {
        let tensor = Tensor([1, -0.5, 65504, -1e4] as [Float], shape: [1, 1, 2, 2])
        let array = try tensor.multiArray(.float16)
        XCTAssertEqual((0..<4).map { array[$0].floatValue }, [1, -0.5, 65504, -1e4])
        let integers = Tensor([3, 4] as [Int32], shape: [2])
        XCTAssertEqual(try integers.multiArray(.int32)[1].int32Value, 4)
        XCTAssertEqual(try integers.multiArray(.float16)[1].floatValue, 4)
        XCTAssertThrowsError(try integers.multiArray(.double))
    }

    func testWhatWasCompiledGoesWithTheModel() throws {
        let place = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString, directoryHint: .isDirectory)
        defer { try? FileManager.default.removeItem(at: place) }
        guard let exported = ProcessInfo.processInfo.environment["LILIMS_EXPORTED"] else { throw XCTSkip("LILIMS_EXPORTED is not set") }
        let store = try ModelStore(root: place, bundled: nil)
        let folder = try store.import(URL(fileURLWithPath: exported))
        XCTAssertEqual(store.folders().map(store.isImported), [true])
        let digest = try ModelStore.sha256(folder.url.appending(path: "manifest.json")).prefix(32)
        let compiled = place.appending(path: "Compiled/\(digest)-system/model.mlmodelc")
        try FileManager.default.createDirectory(at: compiled, withIntermediateDirectories: true)
        try store.remove(folder)
        XCTAssertTrue(store.folders().isEmpty)
        XCTAssertFalse(FileManager.default.fileExists(atPath: compiled.path))
    }

    func testAModelIsImportedInThePlaceOfItself() throws {
        let place = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString, directoryHint: .isDirectory)
        defer { try? FileManager.default.removeItem(at: place) }
        guard let exported = ProcessInfo.processInfo.environment["LILIMS_EXPORTED"] else { throw XCTSkip("LILIMS_EXPORTED is not set") }
        let store = try ModelStore(root: place, bundled: nil)
        let first = try store.import(URL(fileURLWithPath: exported))
        XCTAssertEqual(try store.import(URL(fileURLWithPath: exported)).url, first.url)
        let left = try FileManager.default.contentsOfDirectory(atPath: place.appending(path: "Models").path)
        XCTAssertEqual(left, [first.url.lastPathComponent])
    }

    func testAFolderThatIsNoModelIsRefused() throws {
        let place = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString, directoryHint: .isDirectory)
        let store = try ModelStore(root: place, bundled: nil)
        defer { try? FileManager.default.removeItem(at: place) }
        XCTAssertThrowsError(try store.import(place))
        XCTAssertEqual(store.folders().count, 0)
    }
}
#endif
