//! How large the caches are, and what of them is one thread's.

use std::fs;
use std::path::Path;

use super::Level;

/// One cache of the first core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cache {
    bytes: usize,
    /// How many processors use the same one.
    sharers: usize,
}

/// What a thread has of the caches to itself, in bytes; 0 where there is no such cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shares {
    l1: usize,
    l2: usize,
    l3: usize,
}

impl Shares {
    pub(super) fn of_this_machine(threads: usize, cpus: usize) -> Self {
        let folder = Path::new("/sys/devices/system/cpu");
        let online = fs::read_to_string(folder.join("online")).ok();
        let cpus = online.and_then(|list| count(&list)).unwrap_or(cpus);
        let caches = read(&folder.join("cpu0/cache")).unwrap_or_else(|| typical(cpus));
        Self::new(caches, threads, cpus)
    }

    /// The threads spread over the machine: where there are several caches of a level, no more of
    /// them than need be share one.
    fn new(caches: [Option<Cache>; 3], threads: usize, cpus: usize) -> Self {
        let share = |cache: Option<Cache>| {
            let Some(Cache { bytes, sharers }) = cache else {
                return 0;
            };
            let instances = cpus.div_ceil(sharers.max(1)).max(1);
            bytes / threads.div_ceil(instances).max(1)
        };
        let [l1, l2, l3] = caches.map(share);
        Self { l1, l2, l3 }
    }

    /// Each cache that holds clearly more than the one before it: its level, a thread's share of
    /// it, and how much to read to measure it.
    pub(super) fn caches(self) -> impl Iterator<Item = (Level, usize, usize)> {
        let mut before: usize = 0;
        let levels = [
            (Level::L1, self.l1),
            (Level::L2, self.l2),
            (Level::L3, self.l3),
        ];
        levels.into_iter().filter_map(move |(level, share)| {
            if share <= before.saturating_mul(2) {
                return None;
            }
            let bytes_to_read = match before {
                // Of level 1 most: a short loop costs more to start over.
                0 => share / 4 * 3,
                // More than the cache before holds, and less than this one, which has other
                // things to hold too.
                before => (before as f64 * share as f64).sqrt() as usize,
            };
            before = share;
            Some((level, share, bytes_to_read))
        })
    }

    /// What the threads' caches hold together, before main memory has to.
    pub(super) fn of_all_threads(self, threads: usize) -> usize {
        self.l1.max(self.l2).max(self.l3).saturating_mul(threads)
    }
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
        let shares = |threads| {
            let Shares { l1, l2, l3 } = Shares::new(caches, threads, 8);
            [l1 >> 10, l2 >> 10, l3 >> 10]
        };
        assert_eq!(shares(1), [32, 1024, 16384]);
        assert_eq!(shares(2), [32, 1024, 8192]);
        assert_eq!(shares(4), [32, 1024, 4096]);
        assert_eq!(shares(8), [16, 512, 2048]);
    }

    #[test]
    fn what_is_read_is_of_its_level() {
        for threads in [1, 2, 16, 64] {
            let caches = [
                Some(Cache {
                    bytes: 32 << 10,
                    sharers: 1,
                }),
                Some(Cache {
                    bytes: 1 << 20,
                    sharers: 1,
                }),
                Some(Cache {
                    bytes: 32 << 20,
                    sharers: 64,
                }),
            ];
            let mut before = 0;
            let found: Vec<Level> = Shares::new(caches, threads, 64)
                .caches()
                .map(|(level, share, read)| {
                    assert!(before < read && read < share, "{before} {read} {share}");
                    before = share;
                    level
                })
                .collect();
            // With 16 threads, each one's part of level 3 is hardly more than its level 2.
            assert_eq!(found.contains(&Level::L3), threads < 16, "{threads}");
        }
        let none = Shares::new([None; 3], 1, 1);
        assert_eq!(none.caches().count(), 0);
    }
}
