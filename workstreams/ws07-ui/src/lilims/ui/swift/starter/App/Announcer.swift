import Accessibility
import Foundation
import LilimsKit

/// Tells VoiceOver what a model says, a sentence at a time: every token by itself would be noise.
struct Announcer {
    private var sentences = Sentences()

    mutating func hear(_ text: String) { say(sentences.push(text)) }

    mutating func finish() { say(sentences.finish()) }

    private func say(_ found: [String]) {
        for sentence in found {
            var words = AttributedString(sentence)
            words.accessibilitySpeechAnnouncementPriority = .default  // waits for what is being said
            AccessibilityNotification.Announcement(words).post()
        }
    }
}
