//! Trees over places `0..count`, in flat arrays: the least of a suffix, the greatest of a range, the first place that
//! nothing covers.

/// The least value at or behind a place (Fenwick).
pub(super) struct Least {
    nodes: Vec<(u64, usize)>,
}

const NOTHING: (u64, usize) = (u64::MAX, usize::MAX);

impl Least {
    pub fn new(count: usize) -> Self {
        Self {
            nodes: vec![NOTHING; count + 1],
        }
    }

    /// Puts a value at a place, if it is less than what is there.
    pub fn lower(&mut self, place: usize, value: (u64, usize)) {
        let mut node = self.nodes.len() - 1 - place;
        while node < self.nodes.len() {
            self.nodes[node] = self.nodes[node].min(value);
            node += node & node.wrapping_neg();
        }
    }

    /// The least value at `place` or behind it; none for nothing.
    pub fn from(&self, place: usize) -> Option<(u64, usize)> {
        let mut node = self.nodes.len() - 1 - place;
        let mut least = NOTHING;
        while node > 0 {
            least = least.min(self.nodes[node]);
            node &= node - 1;
        }
        (least != NOTHING).then_some(least)
    }
}

/// The greatest value of a range of places; 0 where nothing was put.
pub(super) struct Greatest {
    leaves: usize,
    nodes: Vec<u64>,
}

impl Greatest {
    pub fn new(count: usize) -> Self {
        let leaves = count.next_power_of_two();
        Self {
            leaves,
            nodes: vec![0; 2 * leaves],
        }
    }

    pub fn set(&mut self, place: usize, value: u64) {
        let mut node = self.leaves + place;
        self.nodes[node] = value;
        while node > 1 {
            node /= 2;
            self.nodes[node] = self.nodes[2 * node].max(self.nodes[2 * node + 1]);
        }
    }

    /// The first place from `begin` on and before `end` whose value is at least `least`, which is not 0.
    pub fn first_at_least(&self, begin: usize, end: usize, least: u64) -> Option<usize> {
        let (mut node, mut first, mut width) = (self.leaves + begin, begin, 1);
        // Up and to the right until a subtree has one, then down to its first.
        while first < end && self.nodes[node] < least {
            first += width;
            node += 1;
            while node % 2 == 0 && node > 1 {
                (node, width) = (node / 2, 2 * width);
            }
        }
        // Behind the last leaf the climb ends at the root, which is nobody's right neighbour.
        if first >= end {
            return None;
        }
        while node < self.leaves {
            node *= 2;
            node += usize::from(self.nodes[node] < least);
        }
        let place = node - self.leaves;
        (place < end).then_some(place)
    }
}

/// How often each place is covered.
pub(super) struct Cover {
    leaves: usize,
    /// The least count below a node, without what is added above it.
    least: Vec<i32>,
    /// What is added to everything below a node.
    added: Vec<i32>,
}

impl Cover {
    /// From the counts of all places.
    pub fn new(counts: &[i32]) -> Self {
        let leaves = counts.len().next_power_of_two();
        let mut least = vec![0; 2 * leaves];
        least[leaves..leaves + counts.len()].copy_from_slice(counts);
        for node in (1..leaves).rev() {
            least[node] = least[2 * node].min(least[2 * node + 1]);
        }
        Self {
            leaves,
            least,
            added: vec![0; 2 * leaves],
        }
    }

    /// Takes one off the counts of the places from `begin` on and before `end`.
    pub fn uncover(&mut self, begin: usize, end: usize) {
        if begin < end {
            self.descend(1, 0, self.leaves, begin, end);
        }
    }

    fn descend(&mut self, node: usize, first: usize, width: usize, begin: usize, end: usize) {
        if begin <= first && first + width <= end {
            self.least[node] -= 1;
            self.added[node] -= 1;
            return;
        }
        let half = width / 2;
        if begin < first + half {
            self.descend(2 * node, first, half, begin, end);
        }
        if end > first + half {
            self.descend(2 * node + 1, first + half, half, begin, end);
        }
        self.least[node] = self.least[2 * node].min(self.least[2 * node + 1]) + self.added[node];
    }

    /// The first place from `begin` on that nothing covers.
    pub fn first_free(&self, begin: usize) -> Option<usize> {
        self.search(1, 0, self.leaves, begin, 0)
    }

    fn search(
        &self,
        node: usize,
        first: usize,
        width: usize,
        begin: usize,
        above: i32,
    ) -> Option<usize> {
        if first + width <= begin || self.least[node] + above > 0 {
            return None;
        }
        if width == 1 {
            return Some(first);
        }
        let (half, above) = (width / 2, above + self.added[node]);
        self.search(2 * node, first, half, begin, above)
            .or_else(|| self.search(2 * node + 1, first + half, half, begin, above))
    }
}
