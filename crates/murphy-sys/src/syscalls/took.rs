//! How long calls took: how many, together, and by quarters of powers of two.

use std::ops::{AddAssign, Range};

/// How many buckets there are: the last one is of a minute and more.
pub(super) const BUCKETS: usize = 104;
/// So many for each power of two.
const PER_POWER: usize = 4;

/// How long some calls took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// How many.
    pub count: u64,
    /// How long together, in nanoseconds.
    pub sum_ns: u64,
    /// How many there are in each bucket that has any, in their order.
    buckets: Vec<(u8, u64)>,
}

/// From when on a time is of a bucket, in microseconds: 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, …
fn begin_us(bucket: usize) -> u64 {
    let (power, part) = (bucket / PER_POWER, bucket % PER_POWER);
    match power {
        0 => part as u64,
        _ => ((PER_POWER + part) as u64) << (power - 1),
    }
}

impl Took {
    /// The one that a map of the program's has, which is as many numbers.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (numbers, _) = bytes.as_chunks();
        let mut numbers = numbers.iter().copied().map(u64::from_ne_bytes);
        let (count, sum_ns) = (numbers.next()?, numbers.next()?);
        let buckets = (0..).zip(numbers).filter(|(_, calls)| *calls > 0);
        Some(Self {
            count,
            sum_ns,
            buckets: buckets.collect(),
        })
    }

    /// Some that took just so long, in microseconds, each.
    pub fn of(times_us: impl IntoIterator<Item = u64>) -> Self {
        let mut all = Self::default();
        for us in times_us {
            let bucket = (1..BUCKETS).find(|next| begin_us(*next) > us);
            let bucket = bucket.unwrap_or(BUCKETS) - 1;
            all += Self {
                count: 1,
                sum_ns: us.saturating_mul(1000),
                buckets: vec![(u8::try_from(bucket).unwrap_or(u8::MAX), 1)],
            };
        }
        all
    }

    /// What has come since an earlier time.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let known = |bucket: u8| {
            let mut all = earlier.buckets.iter();
            all.find(|(one, _)| *one == bucket)
                .map_or(0, |(_, calls)| *calls)
        };
        let buckets = self.buckets.iter();
        let buckets =
            buckets.map(|(bucket, calls)| (*bucket, calls.saturating_sub(known(*bucket))));
        Self {
            count: self.count.saturating_sub(earlier.count),
            sum_ns: self.sum_ns.saturating_sub(earlier.sum_ns),
            buckets: buckets.filter(|(_, calls)| *calls > 0).collect(),
        }
    }

    /// Between which times it lies that half of them took no longer than, in microseconds; none of none. The end of the
    /// last bucket is no time.
    pub fn median_us(&self) -> Option<Range<u64>> {
        let all: u64 = self.buckets.iter().map(|(_, calls)| calls).sum();
        let mut left = all.div_ceil(2);
        for (bucket, calls) in &self.buckets {
            if *calls >= left {
                let bucket = usize::from(*bucket);
                let end = if bucket + 1 < BUCKETS {
                    begin_us(bucket + 1)
                } else {
                    u64::MAX
                };
                return Some(begin_us(bucket)..end);
            }
            left -= calls;
        }
        None
    }
}

impl AddAssign<&Self> for Took {
    fn add_assign(&mut self, more: &Self) {
        self.count += more.count;
        self.sum_ns = self.sum_ns.saturating_add(more.sum_ns);
        for (bucket, calls) in &more.buckets {
            match self.buckets.binary_search_by_key(bucket, |(one, _)| *one) {
                Ok(at) => self.buckets[at].1 += calls,
                Err(at) => self.buckets.insert(at, (*bucket, *calls)),
            }
        }
    }
}

impl AddAssign for Took {
    fn add_assign(&mut self, more: Self) {
        *self += &more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_by_quarters_of_powers_of_two() {
        let begins: Vec<u64> = (0..14).map(begin_us).collect();
        assert_eq!(begins, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20]);
        for bucket in 1..BUCKETS {
            assert!(begin_us(bucket) > begin_us(bucket - 1), "{bucket}");
        }
        assert!(begin_us(BUCKETS - 1) > 60_000_000);
    }

    #[test]
    fn the_median_is_known_by_its_bucket() {
        assert_eq!(Took::default().median_us(), None);
        assert_eq!(Took::of([50_000; 10]).median_us(), Some(49_152..57_344));
        assert_eq!(Took::of([0, 9, 9, 5000]).median_us(), Some(8..10));
        assert_eq!(Took::of([u64::MAX]).median_us().unwrap().end, u64::MAX);
    }

    #[test]
    fn what_has_come_since_is_what_is_more() {
        let earlier = Took::of([3, 3, 70]);
        let mut now = earlier.clone();
        now += Took::of([70, 900]);
        assert_eq!(now.since(&earlier), Took::of([70, 900]));
        assert_eq!(now.since(&now), Took::default());
    }

    #[test]
    fn a_map_has_them_as_numbers() {
        let mut bytes = [3_u64, 4000].map(u64::to_ne_bytes).concat();
        let buckets = (0..BUCKETS).map(|bucket| u64::from(bucket == 1) * 3);
        buckets.for_each(|calls| bytes.extend(calls.to_ne_bytes()));
        let took = Took::read(&bytes).unwrap();
        assert_eq!((took.count, took.sum_ns), (3, 4000));
        assert_eq!(took.median_us(), Some(1..2));
        assert_eq!(Took::read(&bytes[..8]), None);
    }
}
