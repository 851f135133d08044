import Foundation

#if canImport(UIKit)
import UIKit
#endif

/// Time to finish an answer when the app leaves the foreground.
///
/// iOS grants about half a minute; then the answer is cancelled, which leaves the session whole. (Core ML may not use the
/// GPU in the background: there the prediction fails and the answer ends with that error.) macOS is told not to nap.
@MainActor
enum BackgroundTime {
    static func during(_ name: String, _ work: @escaping @MainActor () async -> Void) async {
        #if canImport(UIKit)
        let task = Task { await work() }
        var id = UIBackgroundTaskIdentifier.invalid
        id = UIApplication.shared.beginBackgroundTask(withName: name) { task.cancel() }
        await withTaskCancellationHandler { await task.value } onCancel: { task.cancel() }
        if id != .invalid { UIApplication.shared.endBackgroundTask(id) }
        #else
        let activity = ProcessInfo.processInfo.beginActivity(options: .userInitiated, reason: name)
        await work()
        ProcessInfo.processInfo.endActivity(activity)
        #endif
    }
}
