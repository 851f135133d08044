// What the app uses of Accessibility; see CoreML.swift.
import Foundation

public enum AccessibilitySpeechPriority: Sendable { case low, `default`, high }

extension AttributedString {
    public var accessibilitySpeechAnnouncementPriority: AccessibilitySpeechPriority? {
        get { nil }
        set {}
    }
}

public enum AccessibilityNotification {
    public struct Announcement {
        public init(_ announcement: AttributedString) {}
        public func post() {}
    }
}
