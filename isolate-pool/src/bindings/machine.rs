//! `now()` and `memory()`: what `process` and `perf_hooks` say about time and memory.

use std::sync::Arc;

use crate::engine::fence::Fence;
use crate::host::clock;
use crate::limits::CLOCK_STEP_NS;

type Arguments<'s> = v8::FunctionCallbackArguments<'s>;
type Answer<'s> = v8::ReturnValue<'s, v8::Value>;

/// Milliseconds of a clock that only goes forward, in coarse steps.
pub fn now<'s>(_: &mut v8::PinScope<'s, '_>, _: Arguments<'s>, mut answer: Answer<'s>) {
    let steps = clock::now_ns() / CLOCK_STEP_NS;
    answer.set_double((steps * CLOCK_STEP_NS) as f64 / 1e6);
}

/// `[resident, heap, heap used, array buffers]`, bytes, of this isolate alone.
pub fn memory<'s>(scope: &mut v8::PinScope<'s, '_>, _: Arguments<'s>, mut answer: Answer<'s>) {
    let statistics = scope.get_heap_statistics();
    let buffers = scope.get_slot::<Arc<Fence>>().map_or(0, |fence| fence.buffer_bytes());
    let figures = [
        statistics.total_physical_size() + buffers,
        statistics.total_heap_size(),
        statistics.used_heap_size(),
        buffers,
    ];
    let figures = figures.map(|bytes| v8::Number::new(scope, bytes as f64).into());
    answer.set(v8::Array::new_with_elements(scope, &figures).into());
}
