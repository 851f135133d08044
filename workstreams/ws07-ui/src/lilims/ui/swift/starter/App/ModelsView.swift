import LilimsKit
import SwiftUI
import UniformTypeIdentifiers

/// The model picker: those in the app, and those that were imported.
struct ModelsView: View {
    @Bindable var chat: Chat
    @Bindable var library: Library
    @State private var chooses = false
    @Environment(\.dismiss) private var dismiss

    var body: some View {
        NavigationStack {
            List(library.folders) { folder in
                Button { choose(folder) } label: { row(folder) }
                    .buttonStyle(.plain)
                    .disabled(chat.opening)
                    .swipeActions { if isImported(folder) { Button("Remove", role: .destructive) { library.remove(folder) } } }
                    .accessibilityIdentifier("model \(folder.manifest.name)")
            }
            .overlay {
                if library.folders.isEmpty { ContentUnavailableView("No model yet", systemImage: "square.stack") }
                if library.importing { ProgressView("Copying and checking") }
            }
            .navigationTitle("Models")
            .toolbar {
                ToolbarItem { Button("Import", systemImage: "square.and.arrow.down") { chooses = true } }
                ToolbarItem(placement: .cancellationAction) { Button("Done") { dismiss() } }
            }
            .fileImporter(isPresented: $chooses, allowedContentTypes: [.folder]) { result in
                switch result {
                case .success(let url): Task { await library.add(url) }
                case .failure(let error): library.problem = error.localizedDescription
                }
            }
        }
        .alert("That did not work", isPresented: problem) {} message: { Text(library.problem ?? "") }
        .frame(minWidth: 360, minHeight: 320)
    }

    private func row(_ folder: ModelFolder) -> some View {
        HStack {
            VStack(alignment: .leading) {
                Text(verbatim: folder.manifest.name)
                Text(verbatim: "\(folder.manifest.version) · \(folder.size)").font(.caption).foregroundStyle(.secondary)
            }
            Spacer()
            if folder.url == chat.model?.folder.url { Image(systemName: "checkmark").accessibilityLabel("in use") }
        }
        .contentShape(.rect)
    }

    private var problem: Binding<Bool> {
        Binding(get: { library.problem != nil }, set: { _ in library.problem = nil })
    }

    private func isImported(_ folder: ModelFolder) -> Bool { (try? library.store().isImported(folder)) ?? false }

    private func choose(_ folder: ModelFolder) {
        dismiss()
        Task { await chat.open(folder, in: library) }
    }
}
