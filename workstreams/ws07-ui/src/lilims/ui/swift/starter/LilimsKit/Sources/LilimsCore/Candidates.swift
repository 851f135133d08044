import Foundation

/// Tokens that may be drawn, in the order of their ids, and the filters that leave some of them.
///
/// The formulas and their order are those of lilims.runtime.sampling (docs/sampling.md has the table). Of equally likely
/// tokens the lower id is kept, and every filter keeps at least one.
struct Candidates {
    /// Ids, ascending; nil is the whole vocabulary.
    var ids: [Int]?
    /// Their logits; -infinity cannot be drawn.
    var values: [Double]

    init(_ values: [Double]) { (ids, self.values) = (nil, values) }

    func id(at place: Int) -> Int { ids.map { $0[place] } ?? place }

    private func keeping(_ places: [Int]) -> Candidates {
        var kept = Candidates(places.map { values[$0] })
        kept.ids = places.map(id(at:))
        return kept
    }

    var best: Double { values.max() ?? -.infinity }

    /// exp(values - max).
    var weights: [Double] {
        let best = best
        return values.map { exp($0 - best) }
    }

    /// The `count` likeliest (arXiv:1805.04833).
    func top(_ count: Int) -> Candidates {
        count >= values.count ? self : keeping(largest(values, count))
    }

    /// (logits - max) / T; where that overflows, the largest logit alone remains, as in the limit.
    func scaled(_ temperature: Double) -> Candidates {
        var scaled = self
        let best = best
        for i in values.indices { scaled.values[i] = values[i] == best ? 0 : (values[i] - best) / temperature }
        return scaled
    }

    /// The fewest likeliest whose probabilities reach `mass` (arXiv:1904.09751).
    func nucleus(_ mass: Double) -> Candidates {
        let weights = weights
        return keeping(leading(values, weights, mass * weights.reduce(0, +)))
    }

    /// Those at least `fraction` times as likely as the likeliest (arXiv:2407.01082).
    func minimum(_ fraction: Double) -> Candidates {
        let bound = best + log(fraction)
        return keeping(values.indices.filter { values[$0] >= bound })
    }

    /// The fewest whose -log p is nearest to the entropy and whose probabilities reach `mass` (arXiv:2202.00666).
    func typical(_ mass: Double) -> Candidates {
        let found = keeping(values.indices.filter { values[$0] > -.infinity })
        let weights = found.weights, total = weights.reduce(0, +), shift = found.best + log(total)
        let shares = found.values.map { $0 - shift }
        let entropy = -zip(shares, weights).reduce(0) { $0 + $1.0 * $1.1 / total }
        let nearness = shares.map { -abs($0 + entropy) }
        return found.keeping(leading(nearness, weights, mass * total))
    }
}

/// Indices, ascending, of the `count` largest values; of equal ones the first.
func largest(_ values: [Double], _ count: Int) -> [Int] {
    guard count < values.count else { return Array(values.indices) }
    guard count > 0 else { return [] }
    let bound = nthLargest(values, count)
    var room = count - values.reduce(0) { $0 + ($1 > bound ? 1 : 0) }
    return values.indices.filter { i in
        if values[i] != bound { return values[i] > bound }
        room -= 1
        return room >= 0
    }
}

/// Indices, ascending, of the fewest entries of largest key whose weights add up to `mass`; at least one.
///
/// Looks at the largest few first, as a nucleus is small in nearly every distribution, then at more.
func leading(_ keys: [Double], _ weights: [Double], _ mass: Double) -> [Int] {
    var count = 256
    while true {
        let places = largest(keys, count)
        let held = places.reduce(0) { $0 + weights[$1] }
        if held >= mass || places.count == keys.count {
            let order = places.sorted { (keys[$1], $0) < (keys[$0], $1) }
            var sum = 0.0
            let end = order.firstIndex { i in
                sum += weights[i]
                return sum >= mass
            }
            return order[...(end ?? order.count - 1)].sorted()
        }
        count *= 16
    }
}

/// The `count`-th largest value, by selection (Hoare's FIND): O(n) on average.
private func nthLargest(_ values: [Double], _ count: Int) -> Double {
    var items = values, low = 0, high = items.count - 1
    let target = count - 1
    while low < high {
        let pivot = items[(low + high) / 2]
        var i = low, j = high
        while i <= j {
            while items[i] > pivot { i += 1 }
            while items[j] < pivot { j -= 1 }
            if i <= j {
                items.swapAt(i, j)
                i += 1
                j -= 1
            }
        }
        if target <= j { high = j } else if target >= i { low = i } else { break }
    }
    return items[target]
}
