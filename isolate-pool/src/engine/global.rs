//! The global object, as each call sees it: the shared names of the isolate, and over them the names that this call has
//! set. A call's globals are seen by no other call of the app, whether it runs between two awaits or later.
//!
//! In: whatever JavaScript does to the global object. Out: a table of names per call, dropped with the call.
//!
//! How it works. The global object has an interceptor for everything but reading, and the object behind it in the
//! prototype chain one for reading. So a built-in name is read as in any V8 (inline caches and optimised code know its
//! cell), a name nobody knows is looked for in the running call's table, and a write always comes here. The first write
//! to a built-in name moves the original off the global object, into a table of its own; from then on that name is
//! looked up here by everyone, which costs a few hundred nanoseconds instead of none. One interceptor for both, the way
//! it is usually done, would make every `JSON` and `Math` a call into Rust.
//!
//! Whose turn it is, V8 keeps for us: the number of the call is its continuation-preserved data, which a reaction takes
//! with it from where it was attached to where it runs. So a promise that calls share resumes each in its own scope. A
//! second value may travel with the number, see [`Globals::keep`]; the data is then an array of the two.
//!
//! Code that calls share (packages, our own modules) is evaluated while names are shared, see [`Globals::share`]: what it
//! sets then, everyone has.
//! Not here: what hangs on the built-ins. A call that changes `Array.prototype` changes it for the isolate.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use v8::{Intercepted, Local, Name, Object, PinScope, PropertyAttribute, PropertyDescriptor, Value};

type Arguments<'s> = v8::PropertyCallbackArguments<'s>;
type Answer<'s, T> = v8::ReturnValue<'s, T>;

/// Whose global names are whose in one isolate; kept with the isolate for the interceptors to find.
#[derive(Default)]
pub struct Globals {
    /// The call for which the isolate was entered last; 0 before the first.
    entered: Cell<u32>,
    /// How many times sharing was asked for and not ended.
    sharing: Cell<u32>,
    /// We ourselves look at the global object as it is.
    bare: Cell<bool>,
    /// The open calls, with a table for those that changed something. Few at a time, and each is put in and taken out.
    calls: RefCell<BTreeMap<u32, Option<Names>>>,
    /// Shared names that some call has changed, with what the others see.
    moved: RefCell<Option<v8::Global<Object>>>,
}

/// What one call changed. Both are objects without a prototype.
struct Names {
    set: v8::Global<Object>,
    deleted: v8::Global<Object>,
}

/// Whose names count just now.
enum Place {
    /// The object's own, without us.
    Bare,
    Shared,
    Call(u32),
}

/// A shared name that a call wants to change.
enum Original {
    Absent,
    /// It is in the table of moved names.
    Moved(PropertyAttribute),
    /// The language says that it cannot be changed, such as `undefined`.
    Fixed,
}

impl Globals {
    /// JavaScript runs on behalf of `call` from now on.
    pub fn enter(&self, scope: &PinScope<'_, '_>, call: u32) {
        self.entered.set(call);
        self.sharing.set(0);
        scope.set_continuation_preserved_embedder_data(v8::Integer::new_from_unsigned(scope, call).into());
    }

    /// The call whose code is running: the one whose reaction this is, else the one for which the isolate was entered.
    pub fn running(&self, scope: &PinScope<'_, '_>) -> u32 {
        let data = scope.get_continuation_preserved_embedder_data();
        let call = match Local::<v8::Array>::try_from(data) {
            Ok(pair) => pair.get_index(scope, 0).and_then(|call| Local::<v8::Uint32>::try_from(call).ok()),
            Err(_) => Local::<v8::Uint32>::try_from(data).ok(),
        };
        call.map_or_else(|| self.entered.get(), |call| call.value())
    }

    /// The value that what runs now and its continuations keep, undefined when there is none.
    pub fn kept<'s>(&self, scope: &PinScope<'s, '_>) -> Local<'s, Value> {
        let data = scope.get_continuation_preserved_embedder_data();
        let kept = Local::<v8::Array>::try_from(data).ok().and_then(|pair| pair.get_index(scope, 1));
        kept.unwrap_or_else(|| v8::undefined(scope).into())
    }

    /// Makes `value` what [`Globals::kept`] gives from now on, here and in the reactions attached from now on.
    pub fn keep(&self, scope: &PinScope<'_, '_>, value: Local<'_, Value>) {
        let call: Local<'_, Value> = v8::Integer::new_from_unsigned(scope, self.running(scope)).into();
        if value.is_undefined() {
            scope.set_continuation_preserved_embedder_data(call);
        } else {
            let pair = v8::Array::new_with_elements(scope, &[call, Local::new(scope, value)]);
            scope.set_continuation_preserved_embedder_data(pair.into());
        }
    }

    /// A call has begun; until [`Globals::close`] it may have names of its own.
    pub fn open(&self, call: u32) {
        self.calls.borrow_mut().insert(call, None);
    }

    /// A call is over. What is left of it may still run, but its writes to the global object go nowhere.
    pub fn close(&self, call: u32) {
        self.calls.borrow_mut().remove(&call);
    }

    /// Begins and ends a stretch of code that sees and sets only what all calls share. Stretches nest; entering the
    /// isolate anew ends them all, so one that was cut short by termination shares nothing later.
    pub fn share(&self, on: bool) {
        self.sharing.set(if on { self.sharing.get() + 1 } else { self.sharing.get().saturating_sub(1) });
    }

    fn place(&self, scope: &PinScope<'_, '_>) -> Place {
        if self.bare.get() {
            Place::Bare
        } else if self.sharing.get() > 0 || self.entered.get() == 0 {
            Place::Shared
        } else {
            Place::Call(self.running(scope))
        }
    }

    /// The tables of a call that has changed something: what it set, what it deleted.
    fn names<'s>(&self, scope: &PinScope<'s, '_>, call: u32) -> Option<(Local<'s, Object>, Local<'s, Object>)> {
        let calls = self.calls.borrow();
        let names = calls.get(&call)?.as_ref()?;
        Some((Local::new(scope, &names.set), Local::new(scope, &names.deleted)))
    }

    /// The tables of a call that is about to change something. None when the call is over.
    fn names_to_change<'s>(
        &self,
        scope: &PinScope<'s, '_>,
        call: u32,
    ) -> Option<(Local<'s, Object>, Local<'s, Object>)> {
        {
            let mut calls = self.calls.borrow_mut();
            let names = calls.get_mut(&call)?;
            if names.is_none() {
                let (set, deleted) = (table(scope), table(scope));
                *names = Some(Names { set: v8::Global::new(scope, set), deleted: v8::Global::new(scope, deleted) });
            }
        }
        self.names(scope, call)
    }

    fn moved<'s>(&self, scope: &PinScope<'s, '_>) -> Option<Local<'s, Object>> {
        self.moved.borrow().as_ref().map(|moved| Local::new(scope, moved))
    }

    /// The table that has the name, as code that runs now sees it. None: the global object itself knows.
    fn find<'s>(&self, scope: &PinScope<'s, '_>, name: Local<'_, Name>) -> Option<Local<'s, Object>> {
        match self.place(scope) {
            Place::Bare => return None,
            Place::Shared => {}
            Place::Call(call) => {
                if let Some((set, deleted)) = self.names(scope, call) {
                    if has(scope, set, name) {
                        return Some(set);
                    }
                    if has(scope, deleted, name) {
                        return None;
                    }
                }
            }
        }
        self.moved(scope).filter(|moved| has(scope, *moved, name))
    }

    /// Makes sure that a shared name which a call is about to change is in the table of moved names.
    fn move_original(&self, scope: &PinScope<'_, '_>, name: Local<'_, Name>) -> Original {
        if let Some(moved) = self.moved(scope)
            && has(scope, moved, name)
        {
            return Original::Moved(attributes(scope, moved, name));
        }
        let context = scope.get_current_context();
        let global = context.global(scope);
        self.bare.set(true);
        // Most names that functions set are nobody else's, so that is asked first.
        let original = match has(scope, global, name) {
            true => self.take_original(scope, global, name),
            false => Original::Absent,
        };
        self.bare.set(false);
        original
    }

    fn take_original(&self, scope: &PinScope<'_, '_>, global: Local<'_, Object>, name: Local<'_, Name>) -> Original {
        let described = global.get_own_property_descriptor(scope, name);
        let Some(described) = described.and_then(|value| Local::<Object>::try_from(value).ok()) else {
            return Original::Absent;
        };
        let field = |key: &str| {
            let key = super::error::string(scope, key);
            if has(scope, described, key.into()) { described.get(scope, key.into()) } else { None }
        };
        if field("configurable").is_none_or(|configurable| !configurable.is_true()) {
            return Original::Fixed;
        }
        let mut copy = match (field("value"), field("get"), field("set")) {
            (Some(value), ..) => {
                let writable = field("writable").is_some_and(|writable| writable.is_true());
                PropertyDescriptor::new_from_value_writable(value, writable)
            }
            (None, get, set) => {
                let nothing = || v8::undefined(scope).into();
                PropertyDescriptor::new_from_get_set(get.unwrap_or_else(nothing), set.unwrap_or_else(nothing))
            }
        };
        copy.set_configurable(true);
        copy.set_enumerable(field("enumerable").is_some_and(|enumerable| enumerable.is_true()));
        let moved = match self.moved(scope) {
            Some(moved) => moved,
            None => {
                let moved = table(scope);
                *self.moved.borrow_mut() = Some(v8::Global::new(scope, moved));
                moved
            }
        };
        if moved.define_property(scope, name, &copy) != Some(true) || global.delete(scope, name.into()) != Some(true) {
            return Original::Fixed;
        }
        Original::Moved(attributes(scope, moved, name))
    }

    fn set(&self, scope: &PinScope<'_, '_>, name: Local<'_, Name>, value: Local<'_, Value>) -> Intercepted {
        let call = match self.place(scope) {
            Place::Bare => return Intercepted::kNo,
            Place::Shared => {
                return match self.moved(scope).filter(|moved| has(scope, *moved, name)) {
                    Some(moved) => {
                        moved.set(scope, name.into(), value);
                        Intercepted::kYes
                    }
                    None => Intercepted::kNo,
                };
            }
            Place::Call(call) => call,
        };
        let Some((set, deleted)) = self.names_to_change(scope, call) else { return Intercepted::kYes };
        if has(scope, set, name) {
            // An exception of a setter is V8's to see.
            set.set(scope, name.into(), value);
            return Intercepted::kYes;
        }
        let kept = match self.move_original(scope, name) {
            Original::Absent => PropertyAttribute::NONE,
            Original::Fixed => return Intercepted::kNo,
            Original::Moved(attributes) if attributes.is_read_only() && !has(scope, deleted, name) => {
                return Intercepted::kYes;
            }
            Original::Moved(attributes) if attributes.is_dont_enum() => PropertyAttribute::DONT_ENUM,
            Original::Moved(_) => PropertyAttribute::NONE,
        };
        set.define_own_property(scope, name, value, kept);
        deleted.delete(scope, name.into());
        Intercepted::kYes
    }

    /// Whether it was intercepted, and then whether the property could be defined.
    fn define(&self, scope: &PinScope<'_, '_>, name: Local<'_, Name>, descriptor: &PropertyDescriptor) -> Option<bool> {
        let call = match self.place(scope) {
            Place::Bare => return None,
            Place::Shared => {
                let moved = self.moved(scope).filter(|moved| has(scope, *moved, name))?;
                return Some(moved.define_property(scope, name, descriptor) == Some(true));
            }
            Place::Call(call) => call,
        };
        let Some((set, deleted)) = self.names_to_change(scope, call) else { return Some(true) };
        if !has(scope, set, name) {
            match self.move_original(scope, name) {
                Original::Absent => {}
                Original::Fixed => return None,
                // What the descriptor does not mention stays as it was.
                Original::Moved(attributes) if !has(scope, deleted, name) => {
                    let value = self.moved(scope).and_then(|moved| moved.get(scope, name.into()));
                    let value = value.unwrap_or_else(|| v8::undefined(scope).into());
                    set.define_own_property(scope, name, value, attributes);
                }
                Original::Moved(_) => {}
            }
        }
        let defined = set.define_property(scope, name, descriptor) == Some(true);
        deleted.delete(scope, name.into());
        Some(defined)
    }

    /// Whether it was intercepted, and then whether the name is gone.
    fn delete(&self, scope: &PinScope<'_, '_>, name: Local<'_, Name>) -> Option<bool> {
        let call = match self.place(scope) {
            Place::Bare => return None,
            Place::Shared => {
                let moved = self.moved(scope).filter(|moved| has(scope, *moved, name))?;
                return moved.delete(scope, name.into());
            }
            Place::Call(call) => call,
        };
        let (set, deleted) = self.names_to_change(scope, call)?;
        if has(scope, set, name) && set.delete(scope, name.into()) != Some(true) {
            return Some(false);
        }
        match self.move_original(scope, name) {
            Original::Absent => {}
            Original::Fixed => return None,
            Original::Moved(_) => {
                deleted.set(scope, name.into(), v8::Boolean::new(scope, true).into());
            }
        }
        Some(true)
    }

    /// The names that are not on the global object itself, for code that runs now.
    fn list<'s>(&self, scope: &PinScope<'s, '_>) -> Vec<Local<'s, Value>> {
        let mut all = Vec::new();
        let mut hidden = None;
        if let Place::Call(call) = self.place(scope)
            && let Some((set, deleted)) = self.names(scope, call)
        {
            keys(scope, set, &mut all);
            hidden = Some((set, deleted));
        }
        if let Some(moved) = self.moved(scope) {
            let own = all.len();
            keys(scope, moved, &mut all);
            if let Some((set, deleted)) = hidden {
                let shared = all.split_off(own);
                all.extend(shared.into_iter().filter(|key| {
                    let name = Local::<Name>::try_from(*key);
                    name.is_ok_and(|name| !has(scope, set, name) && !has(scope, deleted, name))
                }));
            }
        }
        all
    }
}

/// What a context's global object is made from.
pub fn template<'s>(scope: &PinScope<'s, '_, ()>) -> Local<'s, v8::ObjectTemplate> {
    let constructor = v8::FunctionTemplate::new(
        scope,
        |_: &mut PinScope<'_, '_>, _: v8::FunctionCallbackArguments<'_>, _: v8::ReturnValue<'_, Value>| {},
    );
    if let Some(name) = v8::String::new(scope, "Object") {
        constructor.set_class_name(name);
    }
    let behind = constructor.prototype_template(scope);
    behind.set_named_property_handler(v8::NamedPropertyHandlerConfiguration::new().getter(
        |scope: &mut PinScope<'_, '_>, name: Local<'_, Name>, _: Arguments<'_>, answer: Answer<'_, Value>| {
            read(scope, name, answer)
        },
    ));
    behind.set_indexed_property_handler(v8::IndexedPropertyHandlerConfiguration::new().getter(
        |scope: &mut PinScope<'_, '_>, index: u32, _: Arguments<'_>, answer: Answer<'_, Value>| {
            read(scope, index_name(scope, index), answer)
        },
    ));
    let global = constructor.instance_template(scope);
    global.set_immutable_proto();
    global.set_named_property_handler(named());
    global.set_indexed_property_handler(indexed());
    global
}

fn named<'s>() -> v8::NamedPropertyHandlerConfiguration<'s> {
    v8::NamedPropertyHandlerConfiguration::new()
        .setter(
            |scope: &mut PinScope<'_, '_>,
             name: Local<'_, Name>,
             value: Local<'_, Value>,
             _: Arguments<'_>,
             _: Answer<'_, v8::Boolean>| write(scope, name, value),
        )
        .query(
            |scope: &mut PinScope<'_, '_>, name: Local<'_, Name>, _: Arguments<'_>, answer: Answer<'_, v8::Integer>| {
                query(scope, name, answer)
            },
        )
        .deleter(
            |scope: &mut PinScope<'_, '_>, name: Local<'_, Name>, _: Arguments<'_>, answer: Answer<'_, v8::Boolean>| {
                delete(scope, name, answer)
            },
        )
        .definer(
            |scope: &mut PinScope<'_, '_>,
             name: Local<'_, Name>,
             descriptor: &PropertyDescriptor,
             _: Arguments<'_>,
             answer: Answer<'_, v8::Boolean>| define(scope, name, descriptor, answer),
        )
        .descriptor(
            |scope: &mut PinScope<'_, '_>, name: Local<'_, Name>, _: Arguments<'_>, answer: Answer<'_, Value>| {
                describe(scope, name, answer)
            },
        )
        .enumerator(|scope: &mut PinScope<'_, '_>, _: Arguments<'_>, answer: Answer<'_, v8::Array>| {
            enumerate(scope, answer);
        })
}

/// Elements are kept apart by V8 only. They are listed with the names.
fn indexed<'s>() -> v8::IndexedPropertyHandlerConfiguration<'s> {
    v8::IndexedPropertyHandlerConfiguration::new()
        .setter(
            |scope: &mut PinScope<'_, '_>,
             index: u32,
             value: Local<'_, Value>,
             _: Arguments<'_>,
             _: Answer<'_, v8::Boolean>| write(scope, index_name(scope, index), value),
        )
        .query(|scope: &mut PinScope<'_, '_>, index: u32, _: Arguments<'_>, answer: Answer<'_, v8::Integer>| {
            query(scope, index_name(scope, index), answer)
        })
        .deleter(|scope: &mut PinScope<'_, '_>, index: u32, _: Arguments<'_>, answer: Answer<'_, v8::Boolean>| {
            delete(scope, index_name(scope, index), answer)
        })
        .definer(
            |scope: &mut PinScope<'_, '_>,
             index: u32,
             descriptor: &PropertyDescriptor,
             _: Arguments<'_>,
             answer: Answer<'_, v8::Boolean>| define(scope, index_name(scope, index), descriptor, answer),
        )
        .descriptor(|scope: &mut PinScope<'_, '_>, index: u32, _: Arguments<'_>, answer: Answer<'_, Value>| {
            describe(scope, index_name(scope, index), answer)
        })
}

fn globals(scope: &PinScope<'_, '_>) -> Option<Rc<Globals>> {
    scope.get_slot::<Rc<Globals>>().cloned()
}

fn read(scope: &PinScope<'_, '_>, name: Local<'_, Name>, mut answer: Answer<'_, Value>) -> Intercepted {
    let Some(globals) = globals(scope) else { return Intercepted::kNo };
    let Some(table) = globals.find(scope, name) else { return Intercepted::kNo };
    // None: a getter threw, and V8 sees the exception.
    if let Some(value) = table.get(scope, name.into()) {
        answer.set(value);
    }
    Intercepted::kYes
}

fn write(scope: &PinScope<'_, '_>, name: Local<'_, Name>, value: Local<'_, Value>) -> Intercepted {
    globals(scope).map_or(Intercepted::kNo, |globals| globals.set(scope, name, value))
}

fn query(scope: &PinScope<'_, '_>, name: Local<'_, Name>, mut answer: Answer<'_, v8::Integer>) -> Intercepted {
    let Some(globals) = globals(scope) else { return Intercepted::kNo };
    let Some(table) = globals.find(scope, name) else { return Intercepted::kNo };
    let found = attributes(scope, table, name);
    let bits = i32::from(found.is_read_only())
        | (i32::from(found.is_dont_enum()) << 1)
        | (i32::from(found.is_dont_delete()) << 2);
    answer.set_int32(bits);
    Intercepted::kYes
}

fn delete(scope: &PinScope<'_, '_>, name: Local<'_, Name>, answer: Answer<'_, v8::Boolean>) -> Intercepted {
    said(answer, globals(scope).and_then(|globals| globals.delete(scope, name)))
}

fn define(
    scope: &PinScope<'_, '_>,
    name: Local<'_, Name>,
    descriptor: &PropertyDescriptor,
    answer: Answer<'_, v8::Boolean>,
) -> Intercepted {
    said(answer, globals(scope).and_then(|globals| globals.define(scope, name, descriptor)))
}

fn describe(scope: &PinScope<'_, '_>, name: Local<'_, Name>, mut answer: Answer<'_, Value>) -> Intercepted {
    let Some(globals) = globals(scope) else { return Intercepted::kNo };
    let Some(table) = globals.find(scope, name) else { return Intercepted::kNo };
    if let Some(descriptor) = table.get_own_property_descriptor(scope, name) {
        answer.set(descriptor);
    }
    Intercepted::kYes
}

fn enumerate(scope: &PinScope<'_, '_>, mut answer: Answer<'_, v8::Array>) {
    let Some(globals) = globals(scope) else { return };
    let all = globals.list(scope);
    if !all.is_empty() {
        answer.set(v8::Array::new_with_elements(scope, &all));
    }
}

fn said(mut answer: Answer<'_, v8::Boolean>, done: Option<bool>) -> Intercepted {
    match done {
        Some(done) => {
            answer.set_bool(done);
            Intercepted::kYes
        }
        None => Intercepted::kNo,
    }
}

fn table<'s>(scope: &PinScope<'s, '_>) -> Local<'s, Object> {
    Object::with_prototype_and_properties(scope, v8::null(scope).into(), &[], &[])
}

fn has(scope: &PinScope<'_, '_>, table: Local<'_, Object>, name: Local<'_, Name>) -> bool {
    table.has_own_property(scope, name) == Some(true)
}

fn attributes(scope: &PinScope<'_, '_>, table: Local<'_, Object>, name: Local<'_, Name>) -> PropertyAttribute {
    table.get_property_attributes(scope, name.into()).unwrap_or(PropertyAttribute::NONE)
}

fn keys<'s>(scope: &PinScope<'s, '_>, table: Local<'s, Object>, all: &mut Vec<Local<'s, Value>>) {
    let wanted = v8::GetPropertyNamesArgsBuilder::new()
        .mode(v8::KeyCollectionMode::OwnOnly)
        .property_filter(v8::PropertyFilter::ALL_PROPERTIES)
        .index_filter(v8::IndexFilter::IncludeIndices)
        .key_conversion(v8::KeyConversionMode::ConvertToString)
        .build();
    let Some(names) = table.get_own_property_names(scope, wanted) else { return };
    for index in 0..names.length() {
        if let Some(name) = names.get_index(scope, index) {
            all.push(name);
        }
    }
}

fn index_name<'s>(scope: &PinScope<'s, '_>, index: u32) -> Local<'s, Name> {
    super::error::string(scope, &index.to_string()).into()
}

#[cfg(test)]
mod tests {
    use crate::engine::error::string;
    use crate::engine::isolate::Isolate;
    use crate::host::tests::snapshot;

    /// An isolate with the calls 1 and 2 open.
    fn isolate() -> Isolate {
        let isolate = Isolate::new(snapshot(), 64).unwrap();
        isolate.globals().open(1);
        isolate.globals().open(2);
        isolate
    }

    /// The value of an expression in a call, perhaps where names are shared.
    fn evaluate(isolate: &mut Isolate, call: u32, shared: bool, source: &str) -> String {
        let globals = isolate.globals().clone();
        isolate.enter_for(call, |scope, _| {
            if shared {
                globals.share(true);
            }
            let source = string(scope, &format!("String((() => {{ return {source} }})())"));
            v8::Script::compile(scope, source, None).unwrap().run(scope).unwrap().to_rust_string_lossy(scope)
        })
    }

    #[test]
    fn what_is_set_while_names_are_shared_everyone_has() {
        let mut isolate = isolate();
        evaluate(&mut isolate, 1, true, "polyfill = 'shared'");
        assert_eq!(evaluate(&mut isolate, 1, false, "polyfill"), "shared");
        assert_eq!(evaluate(&mut isolate, 1, false, "polyfill = 'mine'"), "mine");
        assert_eq!(evaluate(&mut isolate, 1, false, "polyfill"), "mine");
        assert_eq!(evaluate(&mut isolate, 2, false, "polyfill + Object.keys(globalThis)"), "sharedpolyfill");
    }

    #[test]
    fn shared_code_does_not_see_what_a_call_has_changed() {
        let mut isolate = isolate();
        let changed = evaluate(&mut isolate, 1, false, "(x = 1, JSON = 'mine', delete globalThis.Map, typeof JSON)");
        assert_eq!(changed, "string");
        let look = "[typeof x, typeof JSON, typeof Map, 'Map' in globalThis]";
        assert_eq!(evaluate(&mut isolate, 1, true, look), "undefined,object,function,true");
        assert_eq!(evaluate(&mut isolate, 2, false, look), "undefined,object,function,true");
        assert_eq!(evaluate(&mut isolate, 1, false, look), "number,string,undefined,false");
        // Also a name that a call has moved can still be set for everyone.
        evaluate(&mut isolate, 2, true, "JSON = 'polyfill'");
        assert_eq!(evaluate(&mut isolate, 2, false, "JSON"), "polyfill");
        assert_eq!(evaluate(&mut isolate, 1, false, "JSON"), "mine");
    }

    #[test]
    fn a_call_that_is_over_changes_nothing() {
        let mut isolate = isolate();
        evaluate(&mut isolate, 1, false, "x = 1");
        isolate.globals().close(1);
        assert_eq!(evaluate(&mut isolate, 1, false, "[typeof x, x = 2, typeof x]"), "undefined,2,undefined");
        assert_eq!(evaluate(&mut isolate, 2, false, "typeof x"), "undefined");
    }

    #[test]
    fn a_built_in_name_can_be_redefined_in_part() {
        let mut isolate = isolate();
        let redefine = "(Object.defineProperty(globalThis, 'JSON', { enumerable: true }), typeof JSON.stringify)";
        assert_eq!(evaluate(&mut isolate, 1, false, redefine), "function");
        assert_eq!(evaluate(&mut isolate, 1, false, "Object.keys(globalThis)"), "JSON");
        assert_eq!(evaluate(&mut isolate, 2, false, "[typeof JSON.parse, Object.keys(globalThis)]"), "function,");
    }

    /// Code that was optimised while it set a name for everyone must not go on doing so for one call.
    #[test]
    fn a_function_made_fast_in_shared_code_sets_names_of_a_call_when_a_call_runs_it() {
        let mut isolate = isolate();
        let hot = "(set = (value) => { globalThis.q = value; r = value }, (() => { for (let n = 0; n < 300000; n++) set(n) })(), q)";
        assert_eq!(evaluate(&mut isolate, 1, true, hot), "299999");
        assert_eq!(evaluate(&mut isolate, 1, false, "(set('mine'), [q, r])"), "mine,mine");
        assert_eq!(evaluate(&mut isolate, 2, false, "[q, r]"), "299999,299999");
    }
}
