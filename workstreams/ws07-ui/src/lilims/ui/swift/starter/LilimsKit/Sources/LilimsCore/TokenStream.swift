/// Tokens as they come: an asynchronous sequence, decoded at most `ahead` tokens before its reader.
///
/// The work begins with the iterator, and ends within a step when the reading task is cancelled, which then waits for
/// that step, or the iterator is let go, which cannot. For one reader.
public struct TokenStream: AsyncSequence, Sendable {
    public typealias Element = GeneratedToken
    typealias Yield = @Sendable (GeneratedToken) async -> Bool

    private let ahead: Int
    private let work: @Sendable (@escaping Yield) async throws -> Void

    init(ahead: Int, work: @escaping @Sendable (@escaping Yield) async throws -> Void) {
        (self.ahead, self.work) = (ahead, work)
    }

    public func makeAsyncIterator() -> Iterator { Iterator(Run(ahead: ahead, work: work)) }

    public struct Iterator: AsyncIteratorProtocol {
        private let run: Run

        fileprivate init(_ run: Run) { self.run = run }

        public mutating func next() async throws -> GeneratedToken? { try await run.next() }
    }

    /// The task that decodes; it ends with the last reference to it.
    fileprivate final class Run: Sendable {
        private let channel: BoundedChannel<GeneratedToken>
        private let task: Task<Void, Never>

        init(ahead: Int, work: @escaping @Sendable (@escaping Yield) async throws -> Void) {
            let channel = BoundedChannel<GeneratedToken>(capacity: ahead)
            self.channel = channel
            let hand: Yield = { token in await channel.send(token) }
            task = Task {
                do {
                    try await work(hand)
                    await channel.finish()
                } catch {
                    await channel.finish(error)
                }
            }
        }

        func next() async throws -> GeneratedToken? {
            do {
                return try await withTaskCancellationHandler {
                    try Task.checkCancellation()
                    return try await channel.next()
                } onCancel: {
                    stop()
                }
            } catch {
                await task.value  // whoever learns of the end may use the session at once
                throw error
            }
        }

        private func stop() {
            task.cancel()
            Task { [channel] in await channel.finish(CancellationError()) }
        }

        deinit { stop() }
    }
}
