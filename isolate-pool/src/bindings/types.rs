//! What V8 says a value is, which JavaScript alone cannot tell: the functions of `util.types`.

use crate::engine::error::{Stop, string};

type Arguments<'s> = v8::FunctionCallbackArguments<'s>;
type Answer<'s> = v8::ReturnValue<'s, v8::Value>;

pub fn types<'s>(scope: &mut v8::PinScope<'s, '_>) -> Result<v8::Local<'s, v8::Object>, Stop> {
    let object = v8::Object::new(scope);
    macro_rules! define {
        ($($name:literal: $($test:ident)|+,)*) => {
            $({
                fn ask<'s>(_: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, mut answer: Answer<'s>) {
                    let value = arguments.get(0);
                    answer.set_bool($(value.$test())||+);
                }
                let key = string(scope, $name);
                let function = v8::Function::new(scope, ask).ok_or(Stop::Thrown)?;
                object.create_data_property(scope, key.into(), function.into()).ok_or(Stop::Thrown)?;
            })*
        };
    }
    define! {
        "isExternal": is_external,
        "isDate": is_date,
        "isArgumentsObject": is_arguments_object,
        "isBigIntObject": is_big_int_object,
        "isBooleanObject": is_boolean_object,
        "isNumberObject": is_number_object,
        "isStringObject": is_string_object,
        "isSymbolObject": is_symbol_object,
        "isBoxedPrimitive": is_big_int_object | is_boolean_object | is_number_object | is_string_object | is_symbol_object,
        "isNativeError": is_native_error,
        "isRegExp": is_reg_exp,
        "isAsyncFunction": is_async_function,
        "isGeneratorFunction": is_generator_function,
        "isGeneratorObject": is_generator_object,
        "isPromise": is_promise,
        "isMap": is_map,
        "isSet": is_set,
        "isMapIterator": is_map_iterator,
        "isSetIterator": is_set_iterator,
        "isWeakMap": is_weak_map,
        "isWeakSet": is_weak_set,
        "isArrayBuffer": is_array_buffer,
        "isDataView": is_data_view,
        "isSharedArrayBuffer": is_shared_array_buffer,
        "isProxy": is_proxy,
        "isModuleNamespaceObject": is_module_namespace_object,
        "isAnyArrayBuffer": is_array_buffer | is_shared_array_buffer,
        "isTypedArray": is_typed_array,
        "isUint8Array": is_uint8_array,
        "isUint8ClampedArray": is_uint8_clamped_array,
        "isUint16Array": is_uint16_array,
        "isUint32Array": is_uint32_array,
        "isInt8Array": is_int8_array,
        "isInt16Array": is_int16_array,
        "isInt32Array": is_int32_array,
        "isFloat32Array": is_float32_array,
        "isFloat64Array": is_float64_array,
        "isBigInt64Array": is_big_int64_array,
        "isBigUint64Array": is_big_uint64_array,
    }
    Ok(object)
}
