//! Which of several upstreams a request goes to, and which ones after that.

use std::hash::{DefaultHasher, Hash, Hasher};

/// How requests are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// To each in turn, in proportion to the weights.
    RoundRobin,
    /// To the one with the fewest requests under way for its weight.
    LeastConnections,
    /// To the less busy of two drawn by lot. Where several proxies share the upstreams, they do not
    /// all run to the same one.
    Random,
    /// To the one that what they have in common leads to. An upstream that goes or comes moves no
    /// more than its own share.
    Hash,
}

/// An upstream, as far as the choice goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its share.
    pub weight: u16,
    /// Requests under way to it.
    pub active: usize,
    /// Whether it is to have nothing new.
    pub drains: bool,
    /// Whether it failed of late.
    pub avoided: bool,
}

/// Upstreams in the order that they take their turns, by weight: of 3 and 1, `0 0 1 0`.
#[must_use]
pub fn schedule(weights: &[u16]) -> Vec<usize> {
    let total: i64 = weights.iter().map(|&weight| i64::from(weight)).sum();
    let mut credit = vec![0_i64; weights.len()];
    let mut turns = Vec::new();
    for _ in 0..total {
        for (credit, &weight) in credit.iter_mut().zip(weights) {
            *credit += i64::from(weight);
        }
        // The last of equals would do as well; the first is what people expect.
        let next = (0..credit.len())
            .rev()
            .max_by_key(|&index| credit.get(index).copied());
        if let Some(next) = next
            && let Some(credit) = credit.get_mut(next)
        {
            *credit -= total;
            turns.push(next);
        }
    }
    turns
}

/// The upstreams in the order that they are to be asked: those that are well first, the first
/// choice at their head; then those that failed of late, then those that are to have nothing new.
/// `turn` counts requests, `key` is what a hash is taken of, `kept` is the upstream that the client
/// was with before.
#[must_use]
pub fn order(
    policy: Policy,
    candidates: &[Candidate],
    schedule: &[usize],
    turn: usize,
    key: u64,
    kept: Option<usize>,
) -> Vec<usize> {
    let count = candidates.len();
    let first = match schedule.len() {
        0 => turn % count.max(1),
        turns => schedule.get(turn % turns).copied().unwrap_or(0),
    };
    // Each after the other, beginning with whose turn it is.
    let mut order: Vec<usize> = (0..count)
        .map(|step| (first + step) % count.max(1))
        .collect();
    let get = |index: usize| candidates.get(index).copied();
    match policy {
        Policy::RoundRobin => {}
        Policy::LeastConnections => order.sort_by_key(|&index| get(index).map(load)),
        Policy::Random => {
            let draw = |salt: u64| {
                let drawn = mix(turn as u64, salt) % (count.max(1) as u64);
                usize::try_from(drawn).unwrap_or(0)
            };
            let (one, other) = (draw(1), draw(2));
            let less = if get(one).map(load) <= get(other).map(load) {
                one
            } else {
                other
            };
            order.sort_by_key(|&index| index != less);
        }
        Policy::Hash => order.sort_by_key(|&index| {
            let weight = get(index).map_or(1, |candidate| candidate.weight);
            std::cmp::Reverse(score(mix(key, index as u64 + 1), weight))
        }),
    }
    if let Some(kept) = kept {
        order.sort_by_key(|&index| index != kept);
    }
    order.sort_by_key(|&index| {
        get(index).map_or(3, |candidate| match candidate {
            // Who is with an upstream that drains stays until it goes.
            Candidate { avoided: true, .. } => 1,
            Candidate { drains: true, .. } if kept != Some(index) => 2,
            _ => 0,
        })
    });
    order
}

/// Requests under way for each part of weight, in thousandths.
fn load(candidate: Candidate) -> usize {
    candidate.active.saturating_add(1).saturating_mul(1000) / usize::from(candidate.weight.max(1))
}

fn mix(one: u64, other: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (one, other).hash(&mut hasher);
    hasher.finish()
}

/// Rendezvous hashing with weights: the largest of `weight / -ln(hash)`, as bits that sort alike.
fn score(hash: u64, weight: u16) -> u64 {
    // 52 bits, so that the quotient is exact and never 0 or 1.
    let unit = ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    (f64::from(weight) / -unit.ln()).to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well(weight: u16, active: usize) -> Candidate {
        Candidate {
            weight,
            active,
            drains: false,
            avoided: false,
        }
    }

    fn firsts(
        policy: Policy,
        candidates: &[Candidate],
        requests: usize,
        key: impl Fn(usize) -> u64,
    ) -> Vec<usize> {
        let weights: Vec<u16> = candidates.iter().map(|one| one.weight).collect();
        let schedule = schedule(&weights);
        let mut counts = vec![0; candidates.len()];
        for turn in 0..requests {
            let order = order(policy, candidates, &schedule, turn, key(turn), None);
            if let Some(count) = order.first().and_then(|&first| counts.get_mut(first)) {
                *count += 1;
            }
        }
        counts
    }

    #[test]
    fn turns() {
        assert_eq!(schedule(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(schedule(&[3, 1]), [0, 0, 1, 0]);
        assert_eq!(schedule(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn shares() {
        let three = [well(1, 0), well(1, 0), well(2, 0)];
        assert_eq!(
            firsts(Policy::RoundRobin, &three, 400, |_| 0),
            [100, 100, 200]
        );
        let hashed = firsts(Policy::Hash, &three, 40_000, |turn| turn as u64);
        for (got, expected) in hashed.into_iter().zip([10_000_usize, 10_000, 20_000]) {
            assert!(got.abs_diff(expected) < 600, "{got}, not {expected}");
        }
        let drawn = firsts(Policy::Random, &[well(1, 0), well(1, 0)], 10_000, |_| 0);
        assert!(
            drawn.iter().all(|&count| (4000..6000).contains(&count)),
            "{drawn:?}"
        );
        let busy = [well(1, 9), well(1, 2), well(4, 9)];
        assert_eq!(
            firsts(Policy::LeastConnections, &busy, 10, |_| 0),
            [0, 0, 10]
        );
        let [_, lone, _] = busy;
        assert_eq!(firsts(Policy::LeastConnections, &[lone], 3, |_| 0), [3]);
    }

    #[test]
    fn an_upstream_that_goes_moves_only_its_own() {
        let four = [well(1, 0); 4];
        let mut three = four;
        if let Some(gone) = three.get_mut(2) {
            gone.avoided = true;
        }
        for key in 0..1000 {
            let before = order(Policy::Hash, &four, &[], 0, key, None);
            let after = order(Policy::Hash, &three, &[], 0, key, None);
            if before.first() != Some(&2) {
                assert_eq!(before.first(), after.first());
            }
            assert_eq!(after.last(), Some(&2));
        }
    }

    #[test]
    fn clients_stay_and_those_that_drain_get_no_new_ones() {
        let mut three = [well(1, 0); 3];
        if let Some(leaving) = three.get_mut(0) {
            leaving.drains = true;
        }
        let first = |turn, kept| order(Policy::RoundRobin, &three, &[], turn, 0, kept);
        assert_eq!(first(0, None), [1, 2, 0]);
        assert_eq!(first(0, Some(2)), [2, 1, 0]);
        assert_eq!(first(1, Some(0)), [0, 1, 2]);
        if let Some(gone) = three.get_mut(0) {
            gone.avoided = true;
        }
        assert_eq!(
            order(Policy::RoundRobin, &three, &[], 0, 0, Some(0)),
            [1, 2, 0]
        );
        assert_eq!(order(Policy::Random, &[], &[], 0, 0, None), [0_usize; 0]);
    }
}
