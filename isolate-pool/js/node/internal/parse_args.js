// Gives: `util.parseArgs`. Functions have no command line, so the arguments must be given.

const { argValue, make, mustBe } = require("internal/errors");

module.exports = function parseArgs({ args = [], options = {}, strict = true, allowPositionals = !strict, tokens: wantTokens = false } = {}) {
  const values = Object.create(null);
  const positionals = [];
  const tokens = [];
  for (const [name, option] of Object.entries(options)) {
    if (option.type !== "string" && option.type !== "boolean") throw argValue(`options.${name}.type`, option.type);
  }
  const named = (short) => Object.keys(options).find((name) => options[name].short === short) ?? short;

  const store = (name, rawName, value, index, inline) => {
    const option = Object.hasOwn(options, name) ? options[name] : undefined;
    if (strict && option === undefined) throw make(TypeError, "ERR_PARSE_ARGS_UNKNOWN_OPTION", `Unknown option '${rawName}'`);
    if (strict && option.type === "string" && typeof value !== "string") {
      throw make(TypeError, "ERR_PARSE_ARGS_INVALID_OPTION_VALUE", `Option '${rawName} <value>' argument missing`);
    }
    if (strict && option.type === "boolean" && value !== undefined) {
      throw make(TypeError, "ERR_PARSE_ARGS_INVALID_OPTION_VALUE", `Option '${rawName}' does not take an argument`);
    }
    tokens.push({ kind: "option", name, rawName, index, value, inlineValue: value === undefined ? undefined : inline });
    const kept = value ?? true;
    if (option?.multiple) (values[name] ??= []).push(kept);
    else values[name] = kept;
  };

  for (let index = 0; index < args.length; index++) {
    const arg = args[index];
    mustBe("string", `args[${index}]`, arg);
    const takes = (name) => options[name]?.type === "string";
    const next = () => (index + 1 < args.length && (!strict || !args[index + 1].startsWith("-")) ? args[(index += 1)] : undefined);
    if (arg === "--") {
      tokens.push({ kind: "option-terminator", index });
      for (index += 1; index < args.length; index++) {
        positionals.push(args[index]);
        tokens.push({ kind: "positional", index, value: args[index] });
      }
    } else if (arg.startsWith("--")) {
      const equals = arg.indexOf("=");
      const name = equals < 0 ? arg.slice(2) : arg.slice(2, equals);
      const at = index;
      if (equals >= 0) store(name, `--${name}`, arg.slice(equals + 1), at, true);
      else store(name, arg, takes(name) ? next() : undefined, at, false);
    } else if (arg.length > 1 && arg.startsWith("-")) {
      for (let at = 1; at < arg.length; at++) {
        const name = named(arg[at]);
        const place = index;
        if (takes(name)) {
          const rest = arg.slice(at + 1);
          store(name, `-${arg[at]}`, rest === "" ? next() : rest, place, rest !== "");
          break;
        }
        store(name, `-${arg[at]}`, undefined, place, false);
      }
    } else {
      if (!allowPositionals) throw make(TypeError, "ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL", `Unexpected argument '${arg}'. This command does not take positional arguments`);
      positionals.push(arg);
      tokens.push({ kind: "positional", index, value: arg });
    }
  }
  for (const [name, option] of Object.entries(options)) {
    if (option.default !== undefined && values[name] === undefined) values[name] = option.default;
  }
  return wantTokens ? { values, positionals, tokens } : { values, positionals };
};
