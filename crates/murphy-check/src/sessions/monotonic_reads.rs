//! Monotonic reads: what a read sees, later reads of its session see.
//!
//! Viotti and Vukolić: `vis ; so|rd→rd ⊆ vis`. The version that a read answers with is not before that of an earlier
//! read of its session; for reads that follow one another that is enough, since it carries over.

use super::{
    graph::Graph,
    versions::{Act, Versions},
};

pub(super) fn demand(versions: &Versions, graph: &mut Graph) {
    for session in versions.sessions() {
        let mut reads = session.iter().filter(|step| step.act == Act::Read);
        let Some(mut last) = reads.next() else {
            continue;
        };
        for read in reads {
            graph.arrow(last.version, read.version, (last.place, read.place));
            last = read;
        }
    }
}
