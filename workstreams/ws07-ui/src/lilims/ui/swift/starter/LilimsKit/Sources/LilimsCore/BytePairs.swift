/// Byte-pair merging: of all neighbours the pair that was learned first, of equal ones the leftmost, until none is left.
///
/// A linked list of symbols and a heap of pairs, so that a long stretch costs n · log n.
struct BytePairs: Sendable {
    private struct Pair: Hashable {
        let left: Int32
        let right: Int32
    }

    private struct Merge {
        let rank: Int32
        let id: Int32
    }

    private let merges: [Pair: Merge]

    /// - Parameter triples: left, right and merged id of each merge, by rank.
    init(_ triples: [Int32]) {
        var merges: [Pair: Merge] = [:]
        merges.reserveCapacity(triples.count / 3)
        for rank in 0..<triples.count / 3 {
            let pair = Pair(left: triples[3 * rank], right: triples[3 * rank + 1])
            if merges[pair] == nil { merges[pair] = Merge(rank: Int32(rank), id: triples[3 * rank + 2]) }
        }
        self.merges = merges
    }

    /// The ids that a stretch of ids comes down to.
    func merged(_ symbols: [Int32]) -> [Int] {
        guard symbols.count > 1 else { return symbols.map(Int.init) }
        var ids = symbols, next = Array(1...symbols.count), before = Array(-1..<symbols.count - 1)
        var queue = Heap<Candidate>()
        func offer(_ at: Int) {
            guard at >= 0, next[at] < ids.count else { return }
            if let merge = merges[Pair(left: ids[at], right: ids[next[at]])] {
                queue.push(Candidate(rank: merge.rank, at: Int32(at), id: merge.id))
            }
        }
        for at in symbols.indices { offer(at) }
        while let best = queue.pop() {
            let at = Int(best.at)
            guard ids[at] >= 0, next[at] < ids.count else { continue }
            let right = next[at]
            guard let merge = merges[Pair(left: ids[at], right: ids[right])], merge.id == best.id else { continue }
            ids[at] = merge.id
            ids[right] = -1
            next[at] = next[right]
            if next[at] < ids.count { before[next[at]] = at }
            offer(before[at])
            offer(at)
        }
        return ids.filter { $0 >= 0 }.map(Int.init)
    }

    private struct Candidate: Comparable {
        let rank: Int32
        let at: Int32
        let id: Int32

        static func < (a: Candidate, b: Candidate) -> Bool { (a.rank, a.at) < (b.rank, b.at) }
    }
}

/// A binary heap: the smallest first.
struct Heap<Element: Comparable> {
    private var items: [Element] = []

    mutating func push(_ item: Element) {
        items.append(item)
        var at = items.count - 1
        while at > 0, items[at] < items[(at - 1) / 2] {
            items.swapAt(at, (at - 1) / 2)
            at = (at - 1) / 2
        }
    }

    mutating func pop() -> Element? {
        guard let first = items.first, let last = items.popLast() else { return nil }
        guard !items.isEmpty else { return first }
        items[0] = last
        var at = 0
        while true {
            let left = 2 * at + 1, right = left + 1
            var least = at
            if left < items.count, items[left] < items[least] { least = left }
            if right < items.count, items[right] < items[least] { least = right }
            if least == at { return first }
            items.swapAt(at, least)
            at = least
        }
    }
}
