#!/usr/bin/env bash
# Makes the files of this folder anew from the packages' own sources: ./build.sh
# Needs node and npm with a registry. Versions are exact, so the result changes only when a line below does.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
echo '{"private":true}' > package.json
npm install --silent --no-audit --no-fund --ignore-scripts esbuild@0.28.2 \
  readable-stream@4.8.0 node-inspect-extracted@3.3.3 url@0.11.4 punycode@2.3.1

mkdir shims
# What the packages bring along for browsers, we have ourselves.
echo 'module.exports = require("node:buffer");' > shims/buffer.js
echo 'module.exports = require("node:events");' > shims/events.js
echo 'module.exports = require("node:process");' > shims/process.js
echo 'module.exports = require("node:string_decoder");' > shims/string_decoder.js
echo 'module.exports = require("node:punycode");' > shims/punycode.js
echo 'module.exports = require("node:querystring");' > shims/querystring.js
echo 'module.exports = { AbortController: globalThis.AbortController, AbortSignal: globalThis.AbortSignal };' > shims/abort.js
# Some name them with a slash behind, which means the package even where there is a module of Node's.
sed -i -E "s#require\('(punycode|process|string_decoder)/'\)#require('\1')#" \
  node_modules/url/url.js node_modules/readable-stream/lib/internal/shims/process.js \
  node_modules/readable-stream/lib/internal/streams/readable.js
# An isolate has neither of these.
sed -i 's/"Atomics",//' node_modules/node-inspect-extracted/dist/inspect.js
sed -i 's/AbortSignal\.any ||/AbortSignal?.any ||/' node_modules/readable-stream/lib/ours/util.js
echo 'module.exports = require("./node_modules/readable-stream/lib/stream.js");' > stream.js
echo 'module.exports = require("./node_modules/node-inspect-extracted/dist/inspect.js");' > inspect.js
echo 'module.exports = require("./node_modules/url/url.js");' > url.js
echo 'module.exports = require("./node_modules/punycode/punycode.js");' > punycode.js

for name in stream inspect url punycode; do
  node_modules/.bin/esbuild "$name.js" --bundle --format=cjs --platform=neutral --target=es2024 \
    --minify-whitespace --minify-syntax --legal-comments=none --charset=utf8 --log-level=warning \
    --external:node:* --alias:buffer=./shims/buffer.js --alias:events=./shims/events.js \
    --alias:process=./shims/process.js --alias:string_decoder=./shims/string_decoder.js \
    --alias:punycode=./shims/punycode.js --alias:qs=./shims/querystring.js --alias:abort-controller=./shims/abort.js \
    --define:global=globalThis --outfile="$here/$name.js"
done
