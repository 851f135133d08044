/// Elements from one task to another, at most `capacity` ahead: who sends waits for who receives.
///
/// (AsyncStream's buffers drop elements or grow.) One task sends, one receives.
actor BoundedChannel<Element: Sendable> {
    private let capacity: Int
    private var waiting: [Element] = []
    private var ended = false
    private var failure: (any Error)?
    private var receiver: CheckedContinuation<Void, Never>?
    private var sender: CheckedContinuation<Void, Never>?

    init(capacity: Int) { self.capacity = max(capacity, 1) }

    /// Hands an element over, as soon as there is room.
    ///
    /// - Returns: whether anybody still receives.
    func send(_ element: Element) async -> Bool {
        while waiting.count >= capacity, !ended {
            await withCheckedContinuation { sender = $0 }
        }
        guard !ended else { return false }
        waiting.append(element)
        wake(&receiver)
        return true
    }

    /// No more elements come, for a reason or none; or nobody takes them any more.
    func finish(_ reason: (any Error)? = nil) {
        if !ended { (ended, failure) = (true, reason) }
        wake(&receiver)
        wake(&sender)
    }

    /// The next element; nil at the end. Throws what the sender ended with.
    func next() async throws -> Element? {
        while waiting.isEmpty {
            if let failure { throw failure }
            if ended { return nil }
            await withCheckedContinuation { receiver = $0 }
        }
        defer { wake(&sender) }
        return waiting.removeFirst()
    }

    private func wake(_ who: inout CheckedContinuation<Void, Never>?) {
        who?.resume()
        who = nil
    }
}
