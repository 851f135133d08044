import LilimsKit
import SwiftUI

struct SettingsView: View {
    @Bindable var chat: Chat
    @Environment(\.dismiss) private var dismiss

    var body: some View {
        NavigationStack {
            Form {
                Section("Sampling") {
                    LabeledContent("Temperature") {
                        Text(chat.sampling.temperature, format: .number.precision(.fractionLength(2))).monospacedDigit()
                    }
                    Slider(value: $chat.sampling.temperature, in: 0...2, step: 0.05) {
                        Text("Temperature")
                    } minimumValueLabel: {
                        Text("exact")
                    } maximumValueLabel: {
                        Text("wild")
                    }
                    .accessibilityIdentifier("temperature")
                    Stepper("At most \(chat.maxTokens) tokens", value: $chat.maxTokens, in: 16...8192, step: 16)
                }
                if chat.model?.takesInstructions == true {
                    Section("Instructions") { TextField("Be brief.", text: $chat.instructions, axis: .vertical) }
                }
            }
            .formStyle(.grouped)
            .navigationTitle("Settings")
            .toolbar { Button("Done") { dismiss() } }
        }
        .frame(minWidth: 320, minHeight: 320)
    }
}
