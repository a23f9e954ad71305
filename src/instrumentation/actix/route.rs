//! Which route a request belongs to, and the handles of its series: one cache per worker.
//!
//! A route is the pattern that the application registered. Everything that matched none is
//! `unmatched`, so that a scanner's paths never become series.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use actix_web::HttpRequest;
use actix_web::dev::{ResourceMap, ServiceRequest};
use foldhash::fast::RandomState;

use super::record::Failure;
#[cfg(feature = "otlp")]
use crate::pipeline::export::direct::Ending;
use crate::recording::Handle;
use crate::signals::http::{AuthType, Method, ProtocolVersion, Scheme, UNMATCHED};

/// Paths kept with their route; further ones are looked up again each time.
const PATHS: usize = 1024;

/// How a request ended, as far as its series go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) method: Method,
    pub(super) scheme: Scheme,
    pub(super) version: ProtocolVersion,
    pub(super) auth: AuthType,
    /// 0: none was sent.
    pub(super) status: u16,
    pub(super) error: Option<Failure>,
}

/// A route with the handles of its series.
pub(super) struct Route {
    pattern: Arc<str>,
    handles: RefCell<Vec<(Outcome, Handle)>>,
    #[cfg(feature = "otlp")]
    endings: RefCell<Vec<(Outcome, Rc<Ending>)>>,
}

impl Route {
    fn new(pattern: &str) -> Rc<Self> {
        Rc::new(Self {
            pattern: pattern.into(),
            handles: RefCell::default(),
            #[cfg(feature = "otlp")]
            endings: RefCell::default(),
        })
    }

    /// The pattern, if there is one.
    pub(super) fn matched(&self) -> Option<&Arc<str>> {
        (&*self.pattern != UNMATCHED).then_some(&self.pattern)
    }

    /// The handle of an outcome, made with `make` when it is new.
    #[inline]
    pub(super) fn handle(
        &self,
        outcome: Outcome,
        make: impl FnOnce(&str) -> Option<Handle>,
    ) -> Option<Handle> {
        let known = self.handles.borrow();
        if let Some((_, handle)) = known.iter().find(|(of, _)| *of == outcome) {
            return Some(*handle);
        }
        drop(known);
        let handle = make(&self.pattern)?;
        self.handles.borrow_mut().push((outcome, handle));
        Some(handle)
    }

    /// How spans of an outcome end, made with `make` when it is new.
    #[cfg(feature = "otlp")]
    #[inline]
    pub(super) fn ending(&self, outcome: Outcome, make: impl FnOnce() -> Ending) -> Rc<Ending> {
        let known = self.endings.borrow();
        if let Some((_, ending)) = known.iter().find(|(of, _)| *of == outcome) {
            return Rc::clone(ending);
        }
        drop(known);
        let ending = Rc::new(make());
        let mut known = self.endings.borrow_mut();
        known.push((outcome, Rc::clone(&ending)));
        ending
    }
}

/// The routes of one worker.
#[derive(Default)]
pub(super) struct Routes {
    /// By path, for paths without parameters.
    paths: RefCell<HashMap<Box<str>, Rc<Route>, RandomState>>,
    patterns: RefCell<HashMap<Box<str>, Rc<Route>, RandomState>>,
    unmatched: OnceCell<Rc<Route>>,
    map: OnceCell<ResourceMap>,
}

impl Routes {
    /// Keeps the application's resource map, by which the route of a request is found after
    /// the request itself is gone.
    #[inline]
    pub(super) fn learn(&self, request: &ServiceRequest) {
        self.map.get_or_init(|| request.resource_map().clone());
    }

    /// The route of a path that was seen to match without parameters.
    #[inline]
    pub(super) fn known(&self, path: &str) -> Option<Rc<Route>> {
        self.paths.borrow().get(path).map(Rc::clone)
    }

    /// The route of a request that was routed.
    #[inline]
    pub(super) fn of(&self, request: &HttpRequest) -> Rc<Route> {
        // A path that matched without parameters matches the same pattern whatever else the
        // request holds, so the pattern need not be written out again.
        let fixed = request.match_info().is_empty();
        if fixed && let Some(route) = self.known(request.path()) {
            return route;
        }
        self.find(request.match_pattern(), fixed.then(|| request.path()))
    }

    /// The route of a request whose handler never answered.
    pub(super) fn of_path(&self, path: &str) -> Rc<Route> {
        let pattern = self.map.get().and_then(|map| map.match_pattern(path));
        self.find(pattern, None)
    }

    fn find(&self, pattern: Option<String>, path: Option<&str>) -> Rc<Route> {
        let Some(pattern) = pattern else {
            return Rc::clone(self.unmatched.get_or_init(|| Route::new(UNMATCHED)));
        };
        // The root resource is registered as the empty text.
        let pattern = if pattern.is_empty() { "/" } else { &pattern };
        let known = self.patterns.borrow().get(pattern).cloned();
        let route = known.unwrap_or_else(|| {
            let route = Route::new(pattern);
            let mut patterns = self.patterns.borrow_mut();
            patterns.insert(pattern.into(), Rc::clone(&route));
            route
        });
        if let Some(path) = path {
            let mut paths = self.paths.borrow_mut();
            if paths.len() < PATHS {
                paths.insert(path.into(), Rc::clone(&route));
            }
        }
        route
    }
}
