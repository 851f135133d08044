import LilimsKit
import SwiftUI

@main
struct LilimsApp: App {
    @State private var library = Library()
    @State private var chat = Chat()
    private let metrics = Metrics()

    var body: some Scene {
        WindowGroup {
            ChatView(chat: chat, library: library)
                .task {
                    metrics.start()
                    library.refresh()
                    if let first = library.folders.first, chat.model == nil { await chat.open(first, in: library) }
                }
        }
        #if os(macOS)
        .defaultSize(width: 720, height: 640)
        #endif
    }
}
