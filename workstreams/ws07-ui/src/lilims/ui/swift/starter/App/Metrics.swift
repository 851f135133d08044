import Foundation
import LilimsKit

#if os(iOS)
import MetricKit

/// What MetricKit measures on a person's device, once a day: processor and GPU time, memory, hangs. It stays there, in
/// Application Support/Lilims/Metrics, newest last; nothing is sent.
final class Metrics: NSObject, MXMetricManagerSubscriber {
    private static let most = 30

    func start() { MXMetricManager.shared.add(self) }

    nonisolated func didReceive(_ payloads: [MXMetricPayload]) { payloads.forEach { Metrics.keep($0.jsonRepresentation(), "metrics") } }

    nonisolated func didReceive(_ payloads: [MXDiagnosticPayload]) {
        payloads.forEach { Metrics.keep($0.jsonRepresentation(), "diagnostics") }
    }

    private static func keep(_ json: Data, _ kind: String) {
        guard let folder = try? ModelStore().root.appending(path: "Metrics", directoryHint: .isDirectory) else { return }
        let files = FileManager.default
        try? files.createDirectory(at: folder, withIntermediateDirectories: true)
        let stamp = ISO8601DateFormatter().string(from: .now).replacingOccurrences(of: ":", with: "")
        try? json.write(to: folder.appending(path: "\(stamp)-\(kind)-\(UUID().uuidString.prefix(8)).json"), options: .atomic)
        let kept = (try? files.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
        for old in kept.sorted(by: { $0.lastPathComponent < $1.lastPathComponent }).dropLast(most) { try? files.removeItem(at: old) }
    }
}
#else
/// MetricKit's metrics are those of iOS.
final class Metrics {
    func start() {}
}
#endif
