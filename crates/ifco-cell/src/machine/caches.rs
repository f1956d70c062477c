//! How large the caches are, what of them is one thread's, and how much to read to see it.

use std::fs;
use std::path::Path;

use super::{CacheShare, Level};

/// One cache of the first core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cache {
    bytes: usize,
    /// How many processors use the same one.
    sharers: usize,
}

/// What each of so many threads has of this machine's caches to itself.
pub(super) fn of_this_machine(threads: usize, cpus: usize) -> Vec<CacheShare> {
    let folder = Path::new("/sys/devices/system/cpu");
    let online = fs::read_to_string(folder.join("online")).ok();
    let cpus = online.and_then(|list| count(&list)).unwrap_or(cpus);
    let caches = read(&folder.join("cpu0/cache")).unwrap_or_else(|| typical(cpus));
    shares(caches, threads, cpus)
}

/// The threads spread over the machine: where there are several caches of a level, no more of them
/// than need be share one. A cache of which a thread has hardly more than of the one before it is
/// left out.
fn shares(caches: [Option<Cache>; 3], threads: usize, cpus: usize) -> Vec<CacheShare> {
    let mut shares: Vec<CacheShare> = Vec::new();
    for (level, cache) in [Level::L1, Level::L2, Level::L3].into_iter().zip(caches) {
        let Some(Cache { bytes, sharers }) = cache else {
            continue;
        };
        let instances = cpus.div_ceil(sharers.max(1)).max(1);
        let bytes_per_thread = bytes / threads.div_ceil(instances).max(1);
        let before = shares.last().map_or(0, |share| share.bytes_per_thread);
        if bytes_per_thread > before.saturating_mul(2) {
            shares.push(CacheShare {
                level,
                bytes_per_thread,
            });
        }
    }
    shares
}

/// So much more than the caches that they hold nothing of what is read next, within reason: the
/// bounds keep the measurement short and small on any machine.
const MEMORY_TO_CACHES: usize = 4;
const MEMORY_BYTES: std::ops::RangeInclusive<usize> = (64 << 20)..=(1 << 30);

/// How many bytes each thread reads, one time after another: from half of the nearest cache to
/// twice the last one each power of two, and, as the bandwidth falls where a cache is full, as much
/// as each holds and half as much again; then so much that all of it comes from main memory.
pub(super) fn sizes(caches: &[CacheShare], threads: usize) -> Vec<usize> {
    let shares = || caches.iter().map(|cache| cache.bytes_per_thread);
    let last = shares().next_back().unwrap_or(0);
    let all_threads = last.saturating_mul(threads);
    let memory = all_threads
        .saturating_mul(MEMORY_TO_CACHES)
        .clamp(*MEMORY_BYTES.start(), *MEMORY_BYTES.end())
        / threads.max(1);

    let half = shares().next().unwrap_or(memory) / 2;
    let powers = (0..usize::BITS).map(|power| 1 << power);
    let around = powers.filter(|power| (half..=last.saturating_mul(2)).contains(power));
    let edges = shares().flat_map(|share| [share, share.saturating_add(share / 2)]);
    let mut sizes: Vec<usize> = around.chain(edges).filter(|&size| size < memory).collect();
    sizes.push(memory);
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// Where the system does not say: no more than today's machines have, so that what is read to
/// measure a level fits into it.
fn typical(cpus: usize) -> [Option<Cache>; 3] {
    let cache = |kib: usize, sharers| {
        let bytes = kib << 10;
        Some(Cache { bytes, sharers })
    };
    [cache(32, 1), cache(512, 1), cache(8192, cpus)]
}

/// What Linux tells of the caches of one core, below its folder `cache`. `None` without a first
/// level, without which nothing else can be relied on.
fn read(folder: &Path) -> Option<[Option<Cache>; 3]> {
    let mut caches = [None; 3];
    for index in 0..16 {
        let file =
            |name: &str| fs::read_to_string(folder.join(format!("index{index}/{name}"))).ok();
        let Some(kind) = file("type") else { break };
        if kind.trim() == "Instruction" {
            continue;
        }
        let level: Option<usize> = file("level").and_then(|level| level.trim().parse().ok());
        let bytes = file("size").and_then(|size| bytes(&size));
        let sharers = file("shared_cpu_list").and_then(|list| count(&list));
        if let (Some(level @ 1..=3), Some(bytes)) = (level, bytes) {
            let sharers = sharers.unwrap_or(1);
            caches[level - 1] = Some(Cache { bytes, sharers });
        }
    }
    caches[0].is_some().then_some(caches)
}

/// `32K`, `32M`.
fn bytes(size: &str) -> Option<usize> {
    let size = size.trim();
    let digits = size.trim_end_matches(['K', 'M', 'G']);
    let unit = match &size[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    let number: usize = digits.parse().ok()?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0)
}

/// How many processors a list such as `0-3,8` names.
fn count(list: &str) -> Option<usize> {
    let mut total: usize = 0;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        total = total.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_linux_writes() {
        assert_eq!(bytes("32K\n"), Some(32 << 10));
        assert_eq!(bytes("96M"), Some(96 << 20));
        assert_eq!(bytes("512"), Some(512));
        for wrong in ["", "K", "12T", "0K", "99999999999999999999G", "-1K", "1KK"] {
            assert_eq!(bytes(wrong), None, "{wrong:?}");
        }
        assert_eq!(count("0\n"), Some(1));
        assert_eq!(count("0-3,8,10-11"), Some(7));
        for wrong in ["", "3-1", "a", "0-", "0-18446744073709551615"] {
            assert_eq!(count(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn shares_of_threads() {
        let cache = |kib: usize, sharers| {
            let bytes = kib << 10;
            Some(Cache { bytes, sharers })
        };
        // Two threads of 8 processors, two a core, all with one level 3.
        let caches = [cache(32, 2), cache(1024, 2), cache(16384, 8)];
        let kib = |threads| -> Vec<usize> {
            let shares = shares(caches, threads, 8).into_iter();
            shares.map(|share| share.bytes_per_thread >> 10).collect()
        };
        assert_eq!(kib(1), [32, 1024, 16384]);
        assert_eq!(kib(2), [32, 1024, 8192]);
        assert_eq!(kib(4), [32, 1024, 4096]);
        assert_eq!(kib(8), [16, 512, 2048]);
    }

    #[test]
    fn a_cache_that_adds_nothing_is_left_out() {
        let cache = |bytes, sharers| Some(Cache { bytes, sharers });
        let caches = [cache(32 << 10, 1), cache(1 << 20, 1), cache(32 << 20, 64)];
        for threads in [1, 2, 15, 16, 64] {
            let levels: Vec<Level> = shares(caches, threads, 64)
                .iter()
                .map(|share| share.level)
                .collect();
            // With 16 threads, each one's part of level 3 is hardly more than its level 2.
            let all = [Level::L1, Level::L2, Level::L3];
            assert_eq!(levels, all[..if threads < 16 { 3 } else { 2 }], "{threads}");
        }
        assert_eq!(shares([None; 3], 1, 1), []);
    }

    #[test]
    fn sizes_from_half_of_the_nearest_cache_to_main_memory() {
        let share = |level, kib: usize| CacheShare {
            level,
            bytes_per_thread: kib << 10,
        };
        let caches = [share(Level::L1, 48), share(Level::L2, 1280)];
        let kib: Vec<usize> = sizes(&caches, 1).iter().map(|bytes| bytes >> 10).collect();
        let expected = [32, 48, 64, 72, 128, 256, 512, 1024, 1280, 1920, 2048, 65536];
        assert_eq!(kib, expected);

        // Whatever the machine: few sizes, each once, and no more memory than is reasonable.
        let absurd = usize::MAX >> 10;
        for (caches, threads) in [
            (vec![], 1),
            (vec![share(Level::L1, 32)], 1),
            (vec![share(Level::L1, 32), share(Level::L2, 512)], 256),
            (vec![share(Level::L1, 64), share(Level::L3, 1 << 20)], 1),
            (vec![share(Level::L1, absurd)], 2),
        ] {
            let sizes = sizes(&caches, threads);
            assert!(sizes.is_sorted_by(|one, next| one < next), "{sizes:?}");
            assert!((1..40).contains(&sizes.len()), "{sizes:?}");
            let most = sizes.last().unwrap() * threads;
            assert!((32 << 20..=1 << 30).contains(&most), "{most}");
        }
    }
}
