// What LilimsKit uses of Core ML, as Apple's documentation declares it, so that its sources can be type-checked on Linux.
// Declarations only: nothing here runs.
import Foundation

public enum MLComputeUnits: Int, Sendable { case cpuOnly, cpuAndGPU, all, cpuAndNeuralEngine }
public enum MLMultiArrayDataType: Int, Sendable { case double, float32, float16, int32 }

open class MLModelConfiguration: NSObject {
    open var computeUnits: MLComputeUnits = .all
    open var functionName: String?
}

public final class MLState: NSObject {
    public func withMultiArray<R>(for name: String, _ body: (MLMultiArray) throws -> R) rethrows -> R { fatalError() }
}

open class MLPredictionOptions: NSObject {}

public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for name: String) -> MLFeatureValue?
}

open class MLFeatureValue: NSObject {
    public convenience init(multiArray: MLMultiArray) { self.init() }
    open var multiArrayValue: MLMultiArray? { nil }
}

open class MLDictionaryFeatureProvider: NSObject, MLFeatureProvider {
    public init(dictionary: [String: Any]) throws {}
    open var featureNames: Set<String> { [] }
    open func featureValue(for name: String) -> MLFeatureValue? { nil }
}

open class MLMultiArray: NSObject {
    public init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {}
    open var shape: [NSNumber] { [] }
    open var strides: [NSNumber] { [] }
    open var dataType: MLMultiArrayDataType { .float32 }
    open subscript(index: Int) -> NSNumber { 0 }
    public func withUnsafeBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R { fatalError() }
    public func withUnsafeMutableBytes<R>(_ body: (UnsafeMutableRawBufferPointer, [Int]) throws -> R) rethrows -> R {
        fatalError()
    }
}

open class MLMultiArrayConstraint: NSObject { open var dataType: MLMultiArrayDataType { .float32 } }
open class MLFeatureDescription: NSObject { open var multiArrayConstraint: MLMultiArrayConstraint? { nil } }
open class MLModelDescription: NSObject {
    open var inputDescriptionsByName: [String: MLFeatureDescription] { [:] }
}

open class MLModel: NSObject {  // as if it were not Sendable: the stricter case
    open class func load(contentsOf url: URL, configuration: MLModelConfiguration) async throws -> MLModel { fatalError() }
    open class func compileModel(at url: URL) async throws -> URL { url }
    open var modelDescription: MLModelDescription { fatalError() }
    open func makeState() -> MLState { fatalError() }
    open func prediction(
        from input: any MLFeatureProvider, using state: MLState, options: MLPredictionOptions = MLPredictionOptions()
    ) async throws -> any MLFeatureProvider { fatalError() }
}

extension URL {
    public func startAccessingSecurityScopedResource() -> Bool { true }
    public func stopAccessingSecurityScopedResource() {}
}
