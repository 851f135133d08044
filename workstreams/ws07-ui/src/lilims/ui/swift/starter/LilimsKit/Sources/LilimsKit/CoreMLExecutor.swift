#if canImport(CoreML)
@preconcurrency import CoreML
import Foundation
import LilimsCore

/// Core ML behind `DecoderExecutor`: the functions of a model's packages, and a state for each package.
///
/// A function is one `MLModel`, loaded by its name when it is first needed; all functions of a package work on the state
/// that the first of them made. Packages of later layers are fed with what the one before them gives.
public actor CoreMLExecutor: DecoderExecutor {
    private let folder: ModelFolder
    private let compiled: [String: URL]
    private var functions: [String: CoreMLFunction] = [:]
    private var states: [String: CoreMLState] = [:]

    /// - Parameter compiled: the compiled model of each package.
    public init(_ folder: ModelFolder, compiled: [String: URL]) {
        self.folder = folder
        self.compiled = compiled
    }

    public func predict(_ function: String, inputs: [String: Tensor], count: Int) async throws -> [Float] {
        var values = inputs
        for part in folder.manifest.packages where part.functions.contains(function) {
            let loaded = try await load(function, of: part.package)
            let state = try state(of: part.package, made: loaded)
            switch try await loaded.run(values, state: state, count: count) {
            case .logits(let logits): return logits
            case .hidden(let rows): values["hidden"] = rows
            }
        }
        throw Failure("no package gives logits", in: function)
    }

    /// Loads functions before they are needed; the first load on a device compiles for its units and may take minutes.
    public func prepare(_ names: [String]) async throws {
        for name in names {
            for part in folder.manifest.packages where part.functions.contains(name) {
                _ = try await load(name, of: part.package)
            }
        }
    }

    private func load(_ name: String, of package: String) async throws -> CoreMLFunction {
        let key = "\(package): \(name)"
        if let known = functions[key] { return known }
        guard let url = compiled[package] else { throw Failure("the package is not compiled", in: package) }
        let loaded = try await CoreMLFunction(url, function: name, units: folder.manifest.computeUnits)
        functions[key] = functions[key] ?? loaded
        return functions[key] ?? loaded
    }

    private func state(of package: String, made function: CoreMLFunction) throws -> CoreMLState {
        if let known = states[package] { return known }
        let state = CoreMLState(function.model)
        states[package] = state
        return state
    }
}

/// A state and the model that made it, which it must not outlive. Core ML wants one call at a time on it: the session's
/// actor sees to that.
final class CoreMLState: @unchecked Sendable {
    let state: MLState
    private let maker: MLModel

    init(_ maker: MLModel) {
        self.maker = maker
        state = maker.makeState()
    }
}

/// One function of a compiled package. Constant once it is made; Core ML may be called from any thread.
final class CoreMLFunction: @unchecked Sendable {
    let model: MLModel
    private let types: [String: MLMultiArrayDataType]
    private let place: String

    init(_ url: URL, function: String, units: String) async throws {
        let configuration = MLModelConfiguration()
        configuration.functionName = function
        configuration.computeUnits = CoreMLFunction.units(units)
        place = "\(url.lastPathComponent): \(function)"
        do {
            model = try await MLModel.load(contentsOf: url, configuration: configuration)
        } catch {
            throw Failure("Core ML does not load it: \(error.localizedDescription)", in: place)
        }
        types = model.modelDescription.inputDescriptionsByName.compactMapValues { $0.multiArrayConstraint?.dataType }
    }

    /// Runs the function once; of logits the first `count` are wanted.
    func run(_ inputs: [String: Tensor], state: CoreMLState, count: Int) async throws -> CoreMLOutput {
        let arrays = try types.reduce(into: [String: MLFeatureValue]()) { values, input in
            guard let tensor = inputs[input.key] else { throw Failure("no input \(input.key)", in: place) }
            values[input.key] = MLFeatureValue(multiArray: try tensor.multiArray(input.value))
        }
        let features = try MLDictionaryFeatureProvider(dictionary: arrays), output: any MLFeatureProvider
        do {
            output = try await model.prediction(from: features, using: state.state, options: MLPredictionOptions())
        } catch {
            try Task.checkCancellation()
            throw Failure("the prediction failed: \(error.localizedDescription)", in: place)
        }
        guard let found = CoreMLOutput(output, count: count) else {
            throw Failure("the package gives neither logits nor hidden_out", in: place)
        }
        return found
    }

    /// The units that the model was made for. A simulator has a processor alone that computes as a device does.
    private static func units(_ name: String) -> MLComputeUnits {
        #if targetEnvironment(simulator)
        return .cpuOnly
        #else
        return switch name {
        case "CPU_ONLY": .cpuOnly
        case "CPU_AND_NE": .cpuAndNeuralEngine
        case "ALL": .all
        default: .cpuAndGPU
        }
        #endif
    }
}
#endif
