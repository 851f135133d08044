import XCTest

/// Tokens a second, processor time and memory of an answer. Processor time stands for energy, which XCTest cannot measure:
/// joules come from MetricKit in the field, or from Instruments' power profile on a device (docs/swift.md).
final class SpeedTests: XCTestCase {
    @MainActor
    func testAnswer() throws {
        continueAfterFailure = false  // here: Swift 6 lets no override of setUp() be the main actor's
        let app = XCUIApplication()
        app.launch()
        let draft = app.descendants(matching: .any)["draft"]
        XCTAssertTrue(draft.waitForExistence(timeout: 60))
        let speed = TokensPerSecond()
        let metrics: [any XCTMetric] = [
            speed, XCTClockMetric(), XCTCPUMetric(application: app), XCTMemoryMetric(application: app),
            XCTOSSignpostMetric(subsystem: "lilims", category: "Generation", name: "Answer"),
        ]
        let options = XCTMeasureOptions()
        options.iterationCount = 3
        measure(metrics: metrics, options: options) {
            draft.tap()
            draft.typeText("Once upon a time")
            let send = app.buttons["send"]
            XCTAssertTrue(send.waitForExistence(timeout: 120))
            let ready = expectation(for: NSPredicate(format: "enabled == true"), evaluatedWith: send)
            wait(for: [ready], timeout: 300)  // the first preparation of a model takes long
            send.tap()
            XCTAssertTrue(app.staticTexts["speed"].waitForExistence(timeout: 300))
            let done = expectation(
                for: NSPredicate(format: "value == 'done'"), evaluatedWith: app.staticTexts["speed"]
            )
            wait(for: [done], timeout: 300)
            speed.latest = Double(app.staticTexts["speed"].label.split(separator: " ")[0].replacing(",", with: ".")) ?? 0
        }
        XCTAssertGreaterThan(speed.latest, 0, "no tokens")
        XCTAssertFalse(app.staticTexts["answer"].firstMatch.label.isEmpty)
    }

    @MainActor
    func testTheAppIsAccessible() throws {
        continueAfterFailure = false
        let app = XCUIApplication()
        app.launch()
        XCTAssertTrue(app.descendants(matching: .any)["draft"].waitForExistence(timeout: 60))
        try app.performAccessibilityAudit(for: [.sufficientElementDescription, .hitRegion])
    }
}

/// What the app itself has measured, as a metric beside XCTest's own.
final class TokensPerSecond: NSObject, XCTMetric, @unchecked Sendable {
    var latest = 0.0

    func copy(with zone: NSZone? = nil) -> Any { self }

    func reportMeasurements(
        from start: XCTPerformanceMeasurementTimestamp, to end: XCTPerformanceMeasurementTimestamp
    ) throws -> [XCTPerformanceMeasurement] {
        [
            XCTPerformanceMeasurement(
                identifier: "lilims.tokens-per-second", displayName: "Decoding", doubleValue: latest,
                unitSymbol: "tokens/s", polarity: .prefersLarger
            )
        ]
    }
}
