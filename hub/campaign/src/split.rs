//! A selection, split into waves: who is in which. By chance that repeats, so that a wave is a sample of the whole and not
//! the devices whose names come first.

use crate::{
    plan::{Plan, Size},
    query::Candidate,
};

/// Whom a plan takes, and into which waves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Split {
    /// Places in the list of candidates with the number of the wave, ascending by place.
    pub chosen: Vec<(u32, u8)>,
    /// How many are in each wave.
    pub sizes: Vec<u32>,
}

/// FNV-1a, and one round of SplitMix64 so that like names are far apart.
fn chance(seed: u64, id: &str) -> u64 {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(hash)
}

/// SplitMix64's last steps: each bit of the input changes half of the output.
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Splits those of the candidates whom the plan selects. The same seed gives the same waves.
pub fn split(plan: &Plan, candidates: &[Candidate<'_>], seed: u64) -> Split {
    let matching = candidates.iter().zip(0_u32..).filter(|(candidate, _)| plan.selection.matches(candidate));
    let mut rest: Vec<(u64, u32)> = matching.map(|(c, place)| (chance(seed, c.id), place)).collect();
    rest.sort_unstable();
    let selected = u64::try_from(rest.len()).unwrap_or(u64::MAX);
    let (mut chosen, mut sizes) = (Vec::with_capacity(rest.len()), Vec::new());
    for (wave, number) in plan.waves.iter().zip(0_u8..) {
        let before = chosen.len();
        let last = u64::from(sizes.last().copied().unwrap_or(0_u32));
        let count = match &wave.size {
            Size::Query(query) => {
                let meant = |place: u32| {
                    let candidate = usize::try_from(place).ok().and_then(|place| candidates.get(place));
                    candidate.is_some_and(|candidate| query.matches(candidate))
                };
                rest.retain(|(_, place)| {
                    let taken = meant(*place);
                    chosen.extend(taken.then_some((*place, number)));
                    !taken
                });
                0
            }
            Size::Count(count) => u64::from(*count),
            Size::Permille(permille) => (selected * u64::from(*permille)).div_ceil(1_000),
            Size::Growth(permille) => (last * u64::from(*permille)).div_ceil(1_000),
            Size::Rest => selected,
        };
        // From the end, which is as much chance as the beginning.
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(rest.len());
        chosen.extend(rest.drain(rest.len() - count..).map(|(_, place)| (place, number)));
        sizes.push(u32::try_from(chosen.len() - before).unwrap_or(u32::MAX));
    }
    chosen.sort_unstable();
    Split { chosen, sizes }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::plan::tests::{plan, wave};

    fn sizes(waves: Vec<Size>, count: usize) -> Vec<u32> {
        let ids: Vec<_> = (0..count).map(|n| format!("d{n:06}")).collect();
        let attributes = BTreeMap::new();
        let candidate = |id| Candidate { id, class: "", model: "", version: "1.0", attributes: &attributes };
        let candidates: Vec<_> = ids.iter().map(|id| candidate(id.as_str())).collect();
        let split = split(&plan(waves.into_iter().map(wave).collect()), &candidates, 7);
        assert_eq!(split.chosen.len(), count, "everybody is in a wave, and in one");
        assert!(split.chosen.is_sorted_by(|left, right| left.0 < right.0));
        split.sizes
    }

    #[test]
    fn waves_are_as_large_as_the_plan_says() {
        let canary = || Size::Query("id in (d000001, d000007)".parse().expect("a query"));
        assert_eq!(
            sizes(vec![canary(), Size::Count(10), Size::Permille(100), Size::Rest], 1_000),
            [2, 10, 100, 888]
        );
        let growth = || Size::Growth(10_000);
        assert_eq!(sizes(vec![Size::Count(5), growth(), growth(), Size::Rest], 1_000), [5, 50, 500, 445]);
        assert_eq!(sizes(vec![Size::Count(5), growth(), growth(), Size::Rest], 30), [5, 25, 0, 0]);
        assert_eq!(sizes(vec![Size::Permille(1), Size::Rest], 10), [1, 9], "a part of few is at least one");
        assert_eq!(sizes(vec![Size::Rest], 0), [0]);
    }

    #[test]
    fn a_wave_is_a_sample_and_the_same_each_time() {
        let ids: Vec<_> = (0..10_000).map(|n| format!("d{n:06}")).collect();
        let attributes = BTreeMap::new();
        let of = |id| Candidate { id, class: "", model: "", version: "", attributes: &attributes };
        let candidates: Vec<_> = ids.iter().map(|id| of(id.as_str())).collect();
        let plan = plan(vec![wave(Size::Count(1_000)), wave(Size::Rest)]);
        let first = split(&plan, &candidates, 1);
        let early = first.chosen.iter().filter(|(place, wave)| *wave == 0 && *place < 5_000).count();
        assert!((400..600).contains(&early), "{early} of the first half");
        assert_eq!(split(&plan, &candidates, 1), first);
        assert_ne!(split(&plan, &candidates, 2), first);
    }
}
