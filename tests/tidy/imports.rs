//! Import circles. A file depends on another if it uses an item that is defined there. An item that
//! a parent re-exports counts where it is defined.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Path, UseTree, Visibility};

use crate::tree::files;

type ModulePath = Vec<String>;

/// A module with a file of its own.
#[derive(Default)]
struct Module {
    file: String,
    /// The paths that its names stand for: imports, private and public.
    names: BTreeMap<String, ModulePath>,
    /// Paths that its code, tests apart, names.
    paths: Vec<ModulePath>,
}

/// The modules of one crate, by their paths from its root.
struct Modules(BTreeMap<ModulePath, Module>);

#[test]
fn files_do_not_import_each_other_in_circles() {
    let found = circles("src").into_iter().chain(circles("sim/src"));
    let findings: Vec<_> = found.map(|circle| format!("a circle: {}", circle.join(" "))).collect();
    crate::expect_none(&findings);
}

/// Files that depend on each other, as sorted lists.
fn circles(under: &str) -> Vec<Vec<String>> {
    let modules = Modules::read(under);
    let edges = modules.edges();
    let mut circles = BTreeSet::new();
    for file in edges.keys() {
        let forth = reachable(&edges, file);
        let circle: Vec<_> =
            forth.iter().filter(|other| reachable(&edges, other).contains(file)).cloned().collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn reachable(edges: &BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from.to_owned()];
    while let Some(file) = open.pop() {
        for next in edges.get(&file).into_iter().flatten() {
            if reached.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    reached
}

impl Modules {
    fn read(under: &str) -> Self {
        let mut modules = BTreeMap::new();
        for file in files(under, &[".rs"]) {
            let inside = file.path.strip_prefix(under).expect("it was found there");
            let path = inside.trim_start_matches('/').trim_end_matches(".rs");
            let mut path: ModulePath = path.split('/').map(str::to_owned).collect();
            if path.last().is_some_and(|last| matches!(&**last, "mod" | "lib" | "main")) {
                path.pop();
            }
            if path.iter().any(|part| part.ends_with("tests")) || file.path.ends_with("main.rs") {
                continue;
            }
            let parsed = syn::parse_file(&file.text)
                .unwrap_or_else(|error| panic!("{}: {error}", file.path));
            let mut module = Module { file: file.path, ..Module::default() };
            let mut reader = Reader { at: &path, module: &mut module };
            reader.visit_file(&parsed);
            modules.insert(path, module);
        }
        Self(modules)
    }

    /// The files that each file depends on.
    fn edges(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for module in self.0.values() {
            for path in &module.paths {
                let home = self.home(path, 0);
                if let Some(home) = home.filter(|home| *home != module.file) {
                    edges.entry(module.file.clone()).or_default().insert(home.to_owned());
                }
            }
        }
        edges
    }

    /// The file that defines what a path from the root of the crate names.
    fn home(&self, path: &[String], depth: usize) -> Option<&str> {
        let length = (0..=path.len()).rev().find(|length| self.0.contains_key(&path[..*length]))?;
        let module = &self.0[&path[..length]];
        let rest = &path[length..];
        let alias = rest.first().and_then(|name| module.names.get(name));
        match alias {
            Some(target) if depth < 8 => {
                let further: ModulePath = target.iter().chain(&rest[1..]).cloned().collect();
                self.home(&further, depth + 1)
            }
            _ => Some(&module.file),
        }
    }
}

/// Collects what the code of one module names.
struct Reader<'a> {
    at: &'a [String],
    module: &'a mut Module,
}

impl Reader<'_> {
    /// A path as seen from the root of the crate, if it starts in the crate.
    fn absolute(&self, path: &[String]) -> Option<ModulePath> {
        let (first, rest) = path.split_first()?;
        let (mut base, mut rest) = match &**first {
            "crate" => (ModulePath::new(), rest),
            "self" => (self.at.to_vec(), rest),
            "super" => (self.at.split_last()?.1.to_vec(), rest),
            _ => return None,
        };
        while let Some((next, further)) = rest.split_first().filter(|(next, _)| *next == "super") {
            assert_eq!(next, "super");
            base.pop();
            rest = further;
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    fn note_use(&mut self, tree: &UseTree, before: &mut ModulePath, public: bool) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.note_use(&path.tree, before, public);
                before.pop();
            }
            UseTree::Name(name) => self.note_name(before, &name.ident.to_string(), None, public),
            UseTree::Rename(rename) => {
                let name = rename.rename.to_string();
                self.note_name(before, &rename.ident.to_string(), Some(name), public);
            }
            UseTree::Glob(_) => self.note_name(before, "self", None, public),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_use(tree, before, public);
                }
            }
        }
    }

    fn note_name(&mut self, before: &[String], name: &str, alias: Option<String>, public: bool) {
        let mut path = before.to_vec();
        if name != "self" {
            path.push(name.to_owned());
        }
        // Without a prefix it is a crate, or a child of this module.
        let relative =
            std::iter::once("self".to_owned()).chain(path.iter().cloned()).collect::<Vec<_>>();
        let Some(path) = self.absolute(&path).or_else(|| self.absolute(&relative)) else {
            return;
        };
        let alias = alias.or_else(|| path.last().cloned()).unwrap_or_default();
        if !public {
            self.module.paths.push(path.clone());
        }
        self.module.names.insert(alias, path);
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let public = !matches!(item.vis, Visibility::Inherited);
        self.note_use(&item.tree, &mut ModulePath::new(), public);
    }

    /// `pub(super)` names no item.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast Path) {
        let segments: ModulePath =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(path) = self.absolute(&segments) {
            self.module.paths.push(path);
        }
        visit::visit_path(self, path);
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<Path>().is_ok_and(|path| path.is_ident("test"))
    })
}
