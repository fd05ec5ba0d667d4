//! Dense places for value ids that may be sparse, in the order of the ids.

/// From ids to places and back.
pub(crate) enum Ids {
    /// An id is its place.
    Dense(usize),
    /// The ids in order.
    Sparse(Vec<u32>),
}

impl Ids {
    /// For all of `ids`, and 0.
    pub fn new(ids: impl Iterator<Item = u32> + Clone) -> Self {
        let (greatest, count) = ids.clone().fold((0, 0_usize), |(greatest, count), id| {
            (id.max(greatest), count + 1)
        });
        if greatest as usize <= 4 * count + 64 {
            return Self::Dense(greatest as usize + 1);
        }
        let mut sorted: Vec<u32> = ids.chain([0]).collect();
        sorted.sort_unstable();
        sorted.dedup();
        Self::Sparse(sorted)
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Dense(count) => *count,
            Self::Sparse(ids) => ids.len(),
        }
    }

    /// The place of one of the ids.
    pub fn place(&self, id: u32) -> usize {
        match self {
            Self::Dense(_) => id as usize,
            Self::Sparse(ids) => ids.partition_point(|&other| other < id),
        }
    }

    /// The id at a place.
    pub fn id(&self, place: usize) -> u32 {
        match self {
            Self::Dense(_) => u32::try_from(place).unwrap_or(u32::MAX),
            Self::Sparse(ids) => ids[place],
        }
    }
}
