//! Where the nodes of a map stand: in layers, from whoever asks to whoever is asked, with as few crossings as a few looks at
//! their neighbours give.

use super::ServiceMap;

/// How often the order within the layers is looked at again.
const SWEEPS: usize = 6;

/// Where the nodes of a map stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Of each node.
    pub places: Vec<Place>,
    /// How many layers there are.
    pub layers: usize,
    /// How many nodes the fullest of them has.
    pub rows: usize,
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    /// From the left.
    pub layer: usize,
    /// From the top of its layer.
    pub row: usize,
    /// How many stand in its layer.
    pub of: usize,
}

impl Layout {
    /// Of a map. The same map has always the same.
    pub fn of(map: &ServiceMap) -> Self {
        let links = forward(map);
        let layers = layers(map.nodes.len(), &links);
        let count = layers.iter().max().map_or(0, |last| last + 1);
        let mut columns: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (node, layer) in layers.iter().enumerate() {
            columns[*layer].push(node);
        }
        order(&mut columns, map);
        let mut places = vec![Place::default(); map.nodes.len()];
        for (layer, column) in columns.iter().enumerate() {
            for (row, node) in column.iter().enumerate() {
                places[*node] = Place {
                    layer,
                    row,
                    of: column.len(),
                };
            }
        }
        Self {
            places,
            layers: count,
            rows: columns.iter().map(Vec::len).max().unwrap_or(0),
        }
    }
}

/// The links without those that close a circle.
fn forward(map: &ServiceMap) -> Vec<(usize, usize)> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        Above,
        Done,
    }
    let mut next: Vec<Vec<usize>> = vec![Vec::new(); map.nodes.len()];
    let mut asked = vec![false; map.nodes.len()];
    for link in map.links.iter().filter(|link| link.from != link.to) {
        next[link.from].push(link.to);
        asked[link.to] = true;
    }
    for all in &mut next {
        all.sort_unstable();
    }
    let mut seen = vec![Seen::Not; map.nodes.len()];
    let mut links = Vec::new();
    // Whom nobody asks comes first: what leads back to him closes no circle.
    let mut starts: Vec<usize> = (0..map.nodes.len()).collect();
    starts.sort_by_key(|node| (asked[*node], *node));
    for start in starts {
        if seen[start] != Seen::Not {
            continue;
        }
        seen[start] = Seen::Above;
        let mut path = vec![(start, 0)];
        while let Some((node, at)) = path.last_mut() {
            let node = *node;
            let Some(to) = next[node].get(*at).copied() else {
                seen[node] = Seen::Done;
                path.pop();
                continue;
            };
            *at += 1;
            if seen[to] == Seen::Above {
                continue;
            }
            links.push((node, to));
            if seen[to] == Seen::Not {
                seen[to] = Seen::Above;
                path.push((to, 0));
            }
        }
    }
    links
}

/// The layer of each: right of everybody who asks it, and as near as that lets it to whom it asks itself.
fn layers(count: usize, links: &[(usize, usize)]) -> Vec<usize> {
    let mut layers = vec![0; count];
    // Without circles the longest way has fewer steps than there are nodes.
    for _ in 0..count {
        for (from, to) in links {
            layers[*to] = layers[*to].max(layers[*from] + 1);
        }
    }
    for node in 0..count {
        if links.iter().any(|(_, to)| *to == node) {
            continue;
        }
        let asked = links.iter().filter(|(from, _)| *from == node);
        if let Some(nearest) = asked.map(|(_, to)| layers[*to]).min() {
            layers[node] = nearest - 1;
        }
    }
    layers
}

/// Puts everybody beside those whom he talks with: by the middle of where these stand, again and again.
fn order(columns: &mut [Vec<usize>], map: &ServiceMap) {
    let mut beside: Vec<Vec<usize>> = vec![Vec::new(); map.nodes.len()];
    for link in &map.links {
        beside[link.from].push(link.to);
        beside[link.to].push(link.from);
    }
    let mut heights = vec![0.0; map.nodes.len()];
    let stand = |column: &[usize], heights: &mut [f64]| {
        for (row, node) in column.iter().enumerate() {
            heights[*node] = row as f64 - (column.len() as f64 - 1.0) / 2.0;
        }
    };
    for column in columns.iter() {
        stand(column, &mut heights);
    }
    for sweep in 0..SWEEPS {
        let count = columns.len();
        for at in 0..count {
            let column = &mut columns[if sweep % 2 == 0 { at } else { count - 1 - at }];
            let middle = |node: usize| {
                let all = &beside[node];
                if all.is_empty() {
                    return heights[node];
                }
                all.iter().map(|other| heights[*other]).sum::<f64>() / all.len() as f64
            };
            let mut keyed: Vec<(f64, usize)> =
                column.iter().map(|node| (middle(*node), *node)).collect();
            // It is stable: who stands equally high stays where he was.
            keyed.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            *column = keyed.into_iter().map(|(_, node)| node).collect();
            stand(column, &mut heights);
        }
    }
}
