//! Read your writes: a read sees the writes that its session did before.
//!
//! Viotti and Vukolić: `so|wr→rd ⊆ vis`. So every answered write of the session before the read is the version it
//! answers with or comes before it. Each read says that of all writes before it, which would be quadratic:
//!
//! - A read of another's version takes one arrow from a node behind all own writes so far.
//! - A read of an own version takes arrows from the own version read last and from each own write since then. What was
//!   written before that is before the own version read last already.

use super::{
    graph::Graph,
    versions::{Act, Node, Step, Versions},
};

pub(super) fn demand(versions: &Versions, graph: &mut Graph) {
    let mut writer = vec![usize::MAX; versions.written.len()];
    for (number, session) in versions.sessions().enumerate() {
        let mut own: Vec<&Step> = Vec::new();
        let mut behind: Option<Node> = None;
        let mut seen: Option<&Step> = None;
        let mut since = 0;
        for step in session {
            match step.act {
                Act::LateWrite => {}
                Act::Write => {
                    let node = graph.node();
                    graph.arrow_in(step.version, node, step.place);
                    if let Some(behind) = behind {
                        graph.arrow_on(behind, node);
                    }
                    behind = Some(node);
                    writer[step.version as usize] = number;
                    own.push(step);
                }
                Act::Read if writer[step.version as usize] == number => {
                    for write in own[since..].iter().copied().chain(seen) {
                        graph.arrow(write.version, step.version, (write.place, step.place));
                    }
                    since = own.len();
                    seen = own
                        .iter()
                        .copied()
                        .find(|write| write.version == step.version);
                }
                Act::Read => {
                    if let Some(behind) = behind {
                        graph.arrow_out(behind, step.version, step.place);
                    }
                }
            }
        }
    }
}
