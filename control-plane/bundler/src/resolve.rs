//! Ranges to versions, and versions to places: what `npm install` does without a lock file.
//!
//! In: what an app asks for, and a registry. Out: a [`Lock`] in which whatever a package asks for is found by walking up
//! from it, as `require` does. Each version lies as high as it can, so most lie once, at the top. What other packages
//! bring along (peers) is put beside them when nobody else asks for it.
//!
//! Not here: downloads (`install`).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use nodejs_semver::{Range, Version};

use crate::limits::{DOWNLOADS_AT_ONCE, PACKAGES_MAX};
use crate::manifest::{Lock, Locked, Manifest, is_name};
use crate::problem::Problem;
use crate::registry::{Metadata, Registry, Release};

/// One thing that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Need {
    /// The place of who asks; empty for the app.
    from: String,
    /// What it is called there.
    name: String,
    asked: String,
    /// Nothing fails when it cannot be had.
    optional: bool,
    /// Whatever version is there will do.
    peer: bool,
}

impl Need {
    /// What it is called in the registry, and which versions: `npm:other@^1` calls another package by this name.
    fn target(&self) -> Result<(&str, &str), Problem> {
        let (name, asked) = match self.asked.strip_prefix("npm:") {
            None => (self.name.as_str(), self.asked.as_str()),
            Some(alias) => match alias.rfind('@').filter(|at| *at > 0) {
                Some(at) => (&alias[..at], &alias[at + 1..]),
                None => (alias, "latest"),
            },
        };
        let foreign = asked.contains(':') || asked.contains('/');
        if foreign || !is_name(name) {
            let reason = format!(
                "'{}' is not a version in the registry; packages from addresses, git and folders are not installed",
                self.asked
            );
            return Err(Problem::new(reason).of(&self.name));
        }
        Ok((name, if asked.is_empty() { "*" } else { asked }))
    }
}

/// Which versions, without a lock file. Second: what was left out, one sentence each.
pub async fn resolve(registry: &Registry, manifest: &Manifest) -> Result<(Lock, Vec<String>), Problem> {
    let mut tree = Tree::default();
    let wanted = manifest.all().map(|(name, asked, optional)| Need {
        from: String::new(),
        name: name.to_owned(),
        asked: asked.to_owned(),
        optional,
        peer: false,
    });
    let mut level: Vec<Need> = wanted.collect();
    // Level by level: a package that is asked for near the top gets its place near the top, and what a level needs of
    // the registry is fetched together.
    while !level.is_empty() {
        tree.learn(registry, &level).await?;
        let mut queue: VecDeque<Need> = std::mem::take(&mut level).into();
        while let Some(need) = queue.pop_front() {
            let placed = match tree.place(&need) {
                Ok(placed) => placed,
                Err(problem) if need.optional && !problem.ours => {
                    tree.left_out.push(format!("{problem}; it is optional and left out"));
                    continue;
                }
                Err(problem) => return Err(problem),
            };
            let Some(place) = placed else { continue };
            level.extend(tree.needs_of(&place));
            // What it hides from others below it is asked for again.
            level.extend(tree.shadowed(&place));
        }
        level.sort_by(|left, right| (&left.from, &left.name).cmp(&(&right.from, &right.name)));
        level.dedup();
    }
    Ok((tree.lock(), tree.left_out))
}

/// A package's name and what is known of it.
type Known = (String, Result<Arc<Metadata>, Problem>);

async fn learn_one(registry: Registry, name: String) -> Result<Known, Problem> {
    match registry.metadata(&name).await {
        // A registry that is down is no reason to leave something out.
        Err(problem) if problem.ours => Err(problem),
        metadata => Ok((name, metadata.map(Arc::new))),
    }
}

#[derive(Default)]
struct Tree {
    known: HashMap<String, Result<Arc<Metadata>, Problem>>,
    /// By place.
    nodes: BTreeMap<String, Node>,
    /// What was placed or found, to see whom a later placement disturbs.
    met: Vec<Need>,
    left_out: Vec<String>,
}

#[derive(Debug, Clone)]
struct Node {
    name: String,
    version: Version,
    release: Release,
    optional: bool,
}

impl Tree {
    async fn learn(&mut self, registry: &Registry, needs: &[Need]) -> Result<(), Problem> {
        let names: BTreeSet<String> = needs
            .iter()
            .filter_map(|need| Some(need.target().ok()?.0.to_owned()))
            .filter(|name| !self.known.contains_key(name))
            .collect();
        let jobs: Vec<BoxFuture<'static, _>> =
            names.into_iter().map(|name| learn_one(registry.clone(), name).boxed()).collect();
        let fetched: Vec<Known> = stream::iter(jobs).buffer_unordered(DOWNLOADS_AT_ONCE).try_collect().await?;
        self.known.extend(fetched);
        Ok(())
    }

    /// Finds or makes a place for what is asked for. Gives the place when one was made.
    fn place(&mut self, need: &Need) -> Result<Option<String>, Problem> {
        let (name, asked) = need.target()?;
        let metadata = match self.known.get(name) {
            Some(known) => known.clone().map_err(|problem| asked_by(problem, need))?,
            None => return Err(Problem::ours("the registry was not asked").of(name)),
        };
        let found = self.find(&need.from, &need.name).cloned();
        if let Some(at) = &found {
            let node = &self.nodes[at];
            if node.name == name && (need.peer || satisfies(&node.version, asked, &metadata)) {
                self.met.push(need.clone());
                if !need.optional {
                    self.require(&at.clone());
                }
                return Ok(None);
            }
        }
        let (version, release) = pick(name, asked, &metadata).map_err(|problem| asked_by(problem, need))?;
        if need.optional && !(release.os.allows("linux") && release.cpu.allows("x64")) {
            return Ok(None);
        }
        let place = self.highest_free(&need.from, &need.name, found.as_deref());
        if self.nodes.len() >= PACKAGES_MAX {
            return Err(Problem::new(format!("its packages are more than {PACKAGES_MAX}")).at("package.json"));
        }
        let optional = need.optional || self.nodes.get(&need.from).is_some_and(|from| from.optional);
        self.nodes.insert(place.clone(), Node { name: name.to_owned(), version, release, optional });
        self.met.push(need.clone());
        Ok(Some(place))
    }

    /// A package that somebody cannot do without is not optional, nor is what it needs.
    fn require(&mut self, place: &str) {
        let Some(node) = self.nodes.get_mut(place) else { return };
        if !std::mem::replace(&mut node.optional, false) {
            return;
        }
        let names: Vec<String> = node.release.dependencies.keys().cloned().collect();
        for name in names {
            if let Some(at) = self.find(place, &name).cloned() {
                self.require(&at);
            }
        }
    }

    /// Where `require(name)` from the package at `from` leads.
    fn find(&self, from: &str, name: &str) -> Option<&String> {
        folders(from).find_map(|folder| self.nodes.get_key_value(&join(folder, name)).map(|(place, _)| place))
    }

    /// The place nearest to the top that `from` sees and that is not beyond the one it must not see.
    fn highest_free(&self, from: &str, name: &str, hidden: Option<&str>) -> String {
        let mut best = join(from, name);
        for folder in folders(from) {
            let place = join(folder, name);
            if hidden == Some(place.as_str()) {
                break;
            }
            best = place;
        }
        best
    }

    fn needs_of(&self, place: &str) -> Vec<Need> {
        let Some(node) = self.nodes.get(place) else { return Vec::new() };
        let release = &node.release;
        let need = |name: &String, asked: &String, optional: bool, peer: bool| Need {
            from: place.to_owned(),
            name: name.clone(),
            asked: asked.clone(),
            optional,
            peer,
        };
        // A name that stands in both lists is optional; registries repeat optional ones among the others.
        let required =
            release.dependencies.iter().filter(|(name, _)| !release.optional_dependencies.contains_key(*name));
        let required = required.map(|(name, asked)| need(name, asked, false, false));
        let optional = release.optional_dependencies.iter().map(|(name, asked)| need(name, asked, true, false));
        let peers = release.peer_dependencies.iter().filter(|(name, _)| {
            let without = release.peer_dependencies_meta.get(*name).is_some_and(|meta| meta.optional);
            !without && !release.dependencies.contains_key(*name)
        });
        // A peer that cannot be had is its user's affair, as it was before npm 7.
        let peers = peers.map(|(name, asked)| need(name, asked, true, true));
        required.chain(optional).chain(peers).collect()
    }

    /// Needs that found what they asked for above `place` and now find something else there.
    fn shadowed(&self, place: &str) -> Vec<Need> {
        let moved = |need: &&Need| {
            !need.peer
                && self.find(&need.from, &need.name).is_some_and(|found| found == place)
                && need.target().is_ok_and(|(name, asked)| {
                    let node = &self.nodes[place];
                    let known = self.known.get(name).and_then(|known| known.as_ref().ok());
                    node.name != name || !known.is_some_and(|known| satisfies(&node.version, asked, known))
                })
        };
        self.met.iter().filter(moved).cloned().collect()
    }

    fn lock(&self) -> Lock {
        let locked = |node: &Node| Locked {
            name: node.name.clone(),
            version: node.version.to_string(),
            integrity: node.release.dist.integrity(),
            resolved: node.release.dist.tarball.clone(),
            optional: node.optional,
            dependencies: node.release.dependencies.clone(),
        };
        Lock { packages: self.nodes.iter().map(|(place, node)| (place.clone(), locked(node))).collect() }
    }
}

fn asked_by(problem: Problem, need: &Need) -> Problem {
    match need.from.rsplit("node_modules/").next() {
        Some(name) if !name.is_empty() => {
            Problem { reason: format!("{} ({name} needs it)", problem.reason), ..problem }
        }
        _ => problem,
    }
}

/// The folders that `require` looks into from a place, nearest first: the place itself, and those above it.
fn folders(from: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(from), |at| {
        if at.is_empty() {
            return None;
        }
        Some(at.rfind("/node_modules/").map_or("", |cut| &at[..cut]))
    })
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { format!("node_modules/{name}") } else { format!("{folder}/node_modules/{name}") }
}

fn satisfies(version: &Version, asked: &str, metadata: &Metadata) -> bool {
    match Range::parse(asked) {
        Ok(range) => range.satisfies(version) || Version::parse(asked).is_ok_and(|exact| exact == *version),
        Err(_) => metadata.tags.get(asked).is_some_and(|tagged| *tagged == version.to_string()),
    }
}

/// The version npm would take: the one a tag names; else `latest` if it will do; else the newest that will do, and a
/// deprecated one only when there is no other.
fn pick(name: &str, asked: &str, metadata: &Metadata) -> Result<(Version, Release), Problem> {
    let none = || {
        let mut versions: Vec<Version> =
            metadata.versions.keys().filter_map(|text| Version::parse(text).ok()).collect();
        versions.sort();
        let newest = versions.last().map(|version| format!("; the newest is {version}")).unwrap_or_default();
        Problem::new(format!("no version is '{asked}'{newest}")).of(name)
    };
    let exact = |text: &str| {
        let release = metadata.versions.get(text)?;
        Some((Version::parse(text).ok()?, release.clone()))
    };
    let Ok(range) = Range::parse(asked) else {
        return metadata.tags.get(asked).and_then(|tagged| exact(tagged)).ok_or_else(none);
    };
    if let Some(found) = exact(asked.trim_start_matches(['=', 'v'])) {
        return Ok(found);
    }
    if let Some(latest) = metadata.tags.get("latest").and_then(|tagged| exact(tagged))
        && range.satisfies(&latest.0)
    {
        return Ok(latest);
    }
    let fitting = metadata.versions.iter().filter_map(|(text, release)| Some((Version::parse(text).ok()?, release)));
    let kept = |release: &Release| !matches!(&release.deprecated, serde_json::Value::String(why) if !why.is_empty());
    fitting
        .filter(|(version, _)| range.satisfies(version))
        .max_by(|(left, a), (right, b)| (kept(a), left).cmp(&(kept(b), right)))
        .map(|(version, release)| (version, release.clone()))
        .ok_or_else(none)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Needs, PeerMeta};

    /// A registry in memory: `name@version` and what it needs.
    fn world(releases: &[(&str, &[(&str, &str)])]) -> Tree {
        let mut all: HashMap<String, Metadata> = HashMap::new();
        for (id, needs) in releases {
            let (name, version) = id.rsplit_once('@').unwrap();
            let metadata = all.entry(name.to_owned()).or_default();
            let dependencies = needs.iter().map(|(name, asked)| ((*name).to_owned(), (*asked).to_owned())).collect();
            metadata.versions.insert(version.to_owned(), Release { dependencies, ..Release::default() });
            metadata.tags.insert("latest".to_owned(), version.to_owned());
        }
        let known = all.into_iter().map(|(name, metadata)| (name, Ok(Arc::new(metadata)))).collect();
        Tree { known, ..Tree::default() }
    }

    /// Resolves without a registry: everything is known.
    fn places(mut tree: Tree, asked: &[(&str, &str)]) -> Result<Vec<String>, Problem> {
        let mut level: Vec<Need> = asked
            .iter()
            .map(|(name, asked)| Need {
                from: String::new(),
                name: (*name).to_owned(),
                asked: (*asked).to_owned(),
                optional: false,
                peer: false,
            })
            .collect();
        while !level.is_empty() {
            let mut next = Vec::new();
            for need in level {
                if let Some(place) = tree.place(&need)? {
                    next.extend(tree.needs_of(&place));
                    next.extend(tree.shadowed(&place));
                }
            }
            level = next;
        }
        for need in &tree.met {
            let found = tree.find(&need.from, &need.name).unwrap();
            let (name, asked) = need.target().unwrap();
            let node = &tree.nodes[found];
            let fits = satisfies(&node.version, asked, tree.known[name].as_ref().unwrap());
            assert!(need.peer || fits, "{need:?} finds {node:?}");
        }
        Ok(tree.lock().packages.iter().map(|(place, locked)| format!("{place} {}", locked.version)).collect())
    }

    #[test]
    fn one_version_lies_at_the_top_and_a_second_one_below_whoever_asks() {
        let tree = world(&[
            ("a@1.0.0", &[("c", "^1.0.0")]),
            ("b@1.0.0", &[("c", "^2.0.0")]),
            ("c@1.5.0", &[]),
            ("c@2.1.0", &[]),
        ]);
        let found = places(tree, &[("a", "1"), ("b", "1")]).unwrap();
        assert_eq!(
            found,
            [
                "node_modules/a 1.0.0",
                "node_modules/b 1.0.0",
                "node_modules/b/node_modules/c 2.1.0",
                "node_modules/c 1.5.0",
            ]
        );
    }

    #[test]
    fn whoever_a_new_place_hides_something_from_gets_it_again() {
        // d below b is met by the c at the top; then b itself gets a c of its own, which hides that one.
        let tree = world(&[
            ("c@1.0.0", &[]),
            ("c@2.0.0", &[]),
            ("d@1.0.0", &[]),
            ("d@2.0.0", &[("c", "1"), ("e", "1")]),
            ("b@1.0.0", &[("d", "2"), ("f", "1")]),
            ("e@1.0.0", &[("c", "2")]),
            ("f@1.0.0", &[("e", "1")]),
        ]);
        let found = places(tree, &[("c", "1"), ("d", "1"), ("b", "1")]).unwrap();
        assert!(found.contains(&"node_modules/b/node_modules/d 2.0.0".to_owned()), "{found:?}");
    }

    #[test]
    fn circles_end() {
        let tree = world(&[("a@1.0.0", &[("b", "*")]), ("b@1.0.0", &[("a", "*")])]);
        assert_eq!(places(tree, &[("a", "*")]).unwrap(), ["node_modules/a 1.0.0", "node_modules/b 1.0.0"]);
    }

    #[test]
    fn the_version_npm_would_take_is_taken() {
        let mut metadata = Metadata::default();
        for version in ["1.0.0", "1.2.0", "1.3.0", "2.0.0", "3.0.0-beta.1"] {
            metadata.versions.insert(version.to_owned(), Release::default());
        }
        metadata.versions.get_mut("1.3.0").unwrap().deprecated = "broken".into();
        metadata.tags.insert("latest".to_owned(), "2.0.0".to_owned());
        metadata.tags.insert("next".to_owned(), "3.0.0-beta.1".to_owned());
        let picked = |asked: &str| pick("a", asked, &metadata).map(|(version, _)| version.to_string());
        for (asked, version) in [
            ("^1.0.0", "1.2.0"),
            ("1.3.0", "1.3.0"),
            ("*", "2.0.0"),
            (">=1", "2.0.0"),
            ("latest", "2.0.0"),
            ("next", "3.0.0-beta.1"),
            ("3.0.0-beta.1", "3.0.0-beta.1"),
            ("v1.0.0", "1.0.0"),
            ("<=1.0", "1.0.0"),
        ] {
            assert_eq!(picked(asked).unwrap(), version, "{asked}");
        }
        assert!(picked("^9").unwrap_err().reason.contains("the newest is"));
        assert!(picked("nonesuch").is_err());
    }

    #[test]
    fn what_is_not_in_the_registry_is_named() {
        for asked in ["git+ssh://x/y.git", "file:../x", "user/repo", "https://x/y.tgz", "workspace:*"] {
            let problem = places(world(&[("a@1.0.0", &[])]), &[("a", asked)]).unwrap_err();
            assert!(problem.package == "a" && problem.reason.contains(asked), "{asked}: {problem}");
        }
        let tree = world(&[("a@1.0.0", &[]), ("b@1.0.0", &[("a", "^2")])]);
        let problem = places(tree, &[("b", "1")]).unwrap_err();
        assert_eq!(problem.to_string(), "a: no version is '^2'; the newest is 1.0.0 (b needs it)");
        // Another name for a package.
        assert_eq!(places(world(&[("a@1.0.0", &[])]), &[("z", "npm:a@1")]).unwrap(), ["node_modules/z 1.0.0"]);
    }

    #[test]
    fn peers_come_along_unless_they_are_optional_and_fit_loosely() {
        let mut tree = world(&[("p@1.0.0", &[]), ("q@1.0.0", &[]), ("a@1.0.0", &[])]);
        let mut metadata = Metadata::clone(tree.known["a"].as_ref().unwrap());
        let release = metadata.versions.get_mut("1.0.0").unwrap();
        release.peer_dependencies = Needs::from([("p".to_owned(), "^9".to_owned()), ("q".to_owned(), "1".to_owned())]);
        release.peer_dependencies_meta.insert("q".to_owned(), PeerMeta { optional: true });
        tree.known.insert("a".to_owned(), Ok(Arc::new(metadata)));
        let found = places(tree, &[("p", "1"), ("a", "1")]).unwrap();
        assert_eq!(found, ["node_modules/a 1.0.0", "node_modules/p 1.0.0"]);
    }
}
