//! Node's modules at their main job. What each row gives is what Node 20 gives for the same expression.

use super::modules::table;

#[test]
fn buffers_hold_text_and_numbers_as_in_node() {
    table(&[
        ("Buffer.from('héllo €').toString('hex')", "68c3a96c6c6f20e282ac"),
        (
            "Buffer.from('aGk', 'base64').toString() + Buffer.from('_-8=', 'base64').toString('hex') + Buffer.from('aGl', 'base64url').toString('base64url')",
            "hiffefaGk",
        ),
        ("Buffer.from('abcxyz', 'hex').length + Buffer.from('f00', 'hex').toString('hex')", "1f0"),
        (
            "Buffer.from('ÿé', 'latin1').toString('hex') + Buffer.from([200, 65]).toString('ascii') + Buffer.from('añ', 'utf16le').toString('hex')",
            "ffe9HA6100f100",
        ),
        ("JSON.stringify(Buffer.from([1, 2]))", r#"{"type":"Buffer","data":[1,2]}"#),
        ("Buffer.concat([Buffer.from('a'), Buffer.from('bc')], 2).toString()", "ab"),
        (
            "const b = Buffer.alloc(8); b.writeUInt32BE(0xdeadbeef, 0); b.writeInt16LE(-2, 4); return b.toString('hex') + b.readInt32BE(0) + b.readUInt16LE(4)",
            "deadbeeffeff0000-55903873765534",
        ),
        (
            "const b = Buffer.alloc(16); b.writeDoubleLE(1.5, 0); b.writeBigInt64BE(-5n, 8); return b.toString('hex') + b.readDoubleLE(0) + b.readBigUInt64BE(8)",
            "000000000000f83ffffffffffffffffb1.518446744073709551611",
        ),
        (
            "const b = Buffer.alloc(6); b.writeUIntBE(0x123456789abc, 0, 6); return b.readUIntLE(0, 6) + ',' + b.readIntBE(1, 3)",
            "207371629900818,3430008",
        ),
        (
            "try { Buffer.alloc(2).readUInt32LE(0) } catch (e) { return e.code + e.message }",
            "ERR_BUFFER_OUT_OF_BOUNDSAttempt to access memory outside buffer bounds",
        ),
        (
            "try { Buffer.alloc(4).writeUInt8(300) } catch (e) { return e.name + e.code + e.message }",
            r#"RangeErrorERR_OUT_OF_RANGEThe value of "value" is out of range. It must be >= 0 and <= 255. Received 300"#,
        ),
        (
            "try { Buffer.from(5) } catch (e) { return e.message }",
            "The first argument must be of type string or an instance of Buffer, ArrayBuffer, or Array or an Array-like Object. Received type number (5)",
        ),
        (
            "Buffer.from('hello').slice(1, 3).toString() + Buffer.from('hello').subarray(-2) + (Buffer.from('x').subarray(0) instanceof Buffer)",
            "ellotrue",
        ),
        (
            "Buffer.from('abcabc').indexOf('ca') + ',' + Buffer.from('abcabc').lastIndexOf('ab') + ',' + Buffer.from('abc').includes(98)",
            "2,3,true",
        ),
        (
            "Buffer.from('abc').equals(Buffer.from('abc')) + ',' + Buffer.compare(Buffer.from('a'), Buffer.from('b'))",
            "true,-1",
        ),
        ("Buffer.alloc(5, 'ab').toString() + Buffer.byteLength('€') + Buffer.byteLength('aGk=', 'base64')", "ababa32"),
        ("require('util').inspect(Buffer.from('hi'))", "<Buffer 68 69>"),
        ("const b = Buffer.alloc(4); return b.write('€€') + b.toString('hex')", "3e282ac00"),
        (
            "const { StringDecoder } = require('string_decoder'); const d = new StringDecoder('utf8'); return d.write(Buffer.from([0xe2, 0x82])) + '|' + d.write(Buffer.from([0xac])) + '|' + d.end(Buffer.from([0xe2])).length",
            "|€|1",
        ),
        (
            "Buffer.isBuffer(new Uint8Array(1)) + ',' + Buffer.isEncoding('UTF-8') + ',' + (typeof new Buffer(3).length)",
            "false,true,number",
        ),
        (
            "[...Buffer.from('ab').entries()].join() + Buffer.from([3, 1, 2]).sort().join('') + Buffer.from('abcd').swap16()",
            "0,97,1,98123badc",
        ),
        ("require('buffer').transcode(Buffer.from('€'), 'utf8', 'latin1').toString()", "?"),
    ]);
}

#[test]
fn small_modules_do_their_main_job() {
    table(&[
        (
            "require('util').inspect({ a: [1, { b: { c: { d: 1 } } }], s: 'x', f() {}, n: null, m: new Map([[1, 2]]), e: new Set([1]) })",
            r#"{
  a: [ 1, { b: [Object] } ],
  s: 'x',
  f: [Function: f],
  n: null,
  m: Map(1) { 1 => 2 },
  e: Set(1) { 1 }
}"#,
        ),
        (
            "require('util').format('%s %d %i %j %o %% %s', 'a', 1.5, 2.7, { a: 1 }, [1], 'z', 'more')",
            r#"a 1.5 2 {"a":1} [ 1, [length]: 1 ] % z more"#,
        ),
        (r#"require('util').inspect(new Error('boom')).split('\n')[0]"#, "Error: boom"),
        (
            r#"require('util').inspect('it\'s') + require('util').inspect(Symbol('q')) + require('util').inspect(-0) + require('util').inspect([ , 1])"#,
            r#""it's"Symbol(q)-0[ <1 empty item>, 1 ]"#,
        ),
        (
            "class A { constructor() { this.x = 1 } }; return require('util').inspect(new A()) + require('util').inspect(A) + require('util').inspect(Object.create(null))",
            "A { x: 1 }[class A][Object: null prototype] {}",
        ),
        (
            "const o = { [require('util').inspect.custom]() { return 'mine' } }; return require('util').inspect(o)",
            "mine",
        ),
        ("const a = { n: 1 }; a.self = a; return require('util').inspect(a)", "<ref *1> { n: 1, self: [Circular *1] }"),
        ("await require('util').promisify((x, done) => done(null, x + 1))(1)", "2"),
        (
            "await new Promise((done) => require('util').callbackify(async (x) => x * 2)(4, (error, value) => done(value)))",
            "8",
        ),
        (
            "const { inherits } = require('util'); function A() {} function B() {} inherits(A, B); return (new A() instanceof B) + ',' + (A.super_ === B)",
            "true,true",
        ),
        (
            "const { types } = require('util'); return [types.isDate(new Date()), types.isRegExp(/a/), types.isPromise(Promise.resolve()), types.isProxy(new Proxy({}, {})), types.isUint8Array(Buffer.alloc(1)), types.isAsyncFunction(async () => {}), types.isBoxedPrimitive(Object(1))].join()",
            "true,true,true,true,true,true,true",
        ),
        (
            "const { isDeepStrictEqual: same } = require('util'); return [same({ a: [1, new Date(0)] }, { a: [1, new Date(0)] }), same(new Map([[{ a: 1 }, 1]]), new Map([[{ a: 1 }, 1]])), same([0], [-0]), same(new Set([{ a: 1 }]), new Set([{ a: 2 }])), same(NaN, NaN)].join()",
            "true,true,false,false,true",
        ),
        (
            "JSON.stringify(require('util').parseArgs({ args: ['-f', '--bar', 'b', 'x'], options: { f: { type: 'boolean', short: 'f' }, bar: { type: 'string' } }, allowPositionals: true }))",
            r#"{"values":{"f":true,"bar":"b"},"positionals":["x"]}"#,
        ),
        (
            r#"require('util').stripVTControlCharacters('\u001b[31mred\u001b[39m') + require('util').styleText('red', 'x').length"#,
            "red1",
        ),
        ("new (require('util').TextDecoder)().decode(new (require('util').TextEncoder)().encode('ü'))", "ü"),
        (
            "const q = require('querystring'); return JSON.stringify(q.parse('a=1&b=2&a=3&c=%20x+y')) + q.stringify({ a: [1, 'b c'], d: true, e: undefined })",
            r#"{"a":["1","3"],"b":"2","c":" x y"}a=1&a=b%20c&d=true&e="#,
        ),
        ("require('punycode').toASCII('mañana.com') + require('punycode').encode('ü')", "xn--maana-pta.comtda"),
        (
            "const u = require('url').parse('https://user:pw@host.com:8080/p/a/t/h?query=string#hash', true); return [u.host, u.auth, u.pathname, u.query.query, u.hash, u.port, u.href].join(' ')",
            "host.com:8080 user:pw /p/a/t/h string #hash 8080 https://user:pw@host.com:8080/p/a/t/h?query=string#hash",
        ),
        (
            "require('url').resolve('http://a.com/b/c', '../d') + require('url').format({ protocol: 'https', hostname: 'x.y', pathname: '/z', query: { a: 1 } })",
            "http://a.com/dhttps://x.y/z?a=1",
        ),
        (
            "const assert = require('assert'); try { assert.strictEqual(1, 2) } catch (e) { return e.code + e.name + e.message }",
            r#"ERR_ASSERTIONAssertionErrorExpected values to be strictly equal:

1 !== 2
"#,
        ),
        (
            "const assert = require('assert'); assert(true); assert.deepStrictEqual({ a: 1 }, { a: 1 }); assert.deepEqual([1], ['1']); assert.throws(() => { throw new TypeError('bad') }, /bad/); assert.throws(() => { throw new TypeError('bad') }, { name: 'TypeError', message: 'bad' }); await assert.rejects(Promise.reject(new Error('x')), Error); assert.match('abc', /b/); return 'fine'",
            "fine",
        ),
        (
            "const assert = require('assert'); try { assert.deepStrictEqual({ a: 1 }, { a: 2 }) } catch (e) { return e.code + e.operator }",
            "ERR_ASSERTIONdeepStrictEqual",
        ),
        (
            "const assert = require('assert').strict; try { assert.equal(1, '1') } catch (e) { return e instanceof assert.AssertionError }",
            "true",
        ),
        ("try { require('assert').throws(() => {}) } catch (e) { return e.message }", "Missing expected exception."),
        (
            "const { createHook, AsyncResource } = require('async_hooks'); createHook({}).enable(); return new AsyncResource('X').runInAsyncScope((a) => a + 1, null, 1)",
            "2",
        ),
        (
            "const dc = require('diagnostics_channel'); const got = []; dc.subscribe('c', (m) => got.push(m)); dc.channel('c').publish(7); return got.join()",
            "7",
        ),
        (
            "require('os').EOL + require('os').platform() + require('os').constants.signals.SIGTERM + require('constants').ENOENT",
            r#"
linux152"#,
        ),
        ("const { setTimeout: wait } = require('timers/promises'); return await wait(1, 'waited')", "waited"),
        (
            "const vm = require('vm'); return typeof vm.Script + typeof require('worker_threads').isMainThread + require('module').builtinModules.includes('fs')",
            "functionbooleantrue",
        ),
        (
            "try { require('fs').readFileSync('/nope/x') } catch (e) { return e.code + e.errno + e.syscall + e.message }",
            "ENOENT-2openENOENT: no such file or directory, open '/nope/x'",
        ),
        (
            "require('fs').existsSync('/nope/x') + ',' + await require('fs').promises.readFile('/nope/x').catch((e) => e.code) + ',' + await new Promise((done) => require('fs').stat('/nope/x', (e) => done(e.code)))",
            "false,ENOENT,ENOENT",
        ),
        ("require('tty').isatty(99)", "false"),
    ]);
}

#[test]
fn streams_flow_and_end() {
    table(&[
        (
            "const { Readable } = require('stream'); const got = []; for await (const x of Readable.from([1, 2, 3])) got.push(x); return got.join()",
            "1,2,3",
        ),
        (
            "const { pipeline, Transform, Readable, Writable } = require('stream'); const out = []; await new Promise((done, fail) => pipeline(Readable.from(['a', 'b']), new Transform({ objectMode: true, transform(c, e, cb) { cb(null, c.toUpperCase()) } }), new Writable({ objectMode: true, write(c, e, cb) { out.push(c); cb() } }), (error) => error ? fail(error) : done())); return out.join()",
            "A,B",
        ),
        (
            "const { pipeline } = require('stream/promises'); const { PassThrough } = require('stream'); const p = new PassThrough(); const text = require('stream/consumers').text(p); p.write('he'); p.end('llo'); return await text",
            "hello",
        ),
        (
            "const { finished, Readable } = require('stream'); const r = new Readable({ read() { this.destroy(new Error('broke')) } }); return await new Promise((done) => { finished(r, (e) => done(e.message)); r.resume() })",
            "broke",
        ),
        (
            "const { Duplex } = require('stream'); class D extends Duplex { _read() {} _write(c, e, cb) { this.push(c); cb() } _final(cb) { this.push(null); cb() } } const d = new D(); d.setEncoding('utf8'); d.end('x€'); let t = ''; for await (const c of d) t += c; return t",
            "x€",
        ),
        (
            "const Stream = require('stream'); return (Stream === Stream.Stream) + ',' + (new Stream.PassThrough() instanceof Stream) + ',' + (new Stream.PassThrough() instanceof require('events'))",
            "true,true,true",
        ),
        (
            "const { Readable } = require('stream'); return (await Readable.from([1, 2, 3, 4]).filter((x) => x % 2).map((x) => x * 10).toArray()).join()",
            "10,30",
        ),
    ]);
}

#[test]
fn the_process_is_there_to_be_asked() {
    table(&[
        ("typeof process.version + process.versions.node.split('.')[0] + process.platform", "string20linux"),
        (
            "await new Promise((done) => { const got = []; Promise.resolve().then(() => got.push('p')); process.nextTick((x) => { got.push(x) }, 't'); setImmediate(() => done(got.sort().join())) })",
            "p,t",
        ),
        ("typeof process.hrtime.bigint() + process.hrtime().length + (process.hrtime([0, 0])[0] >= 0)", "bigint2true"),
        (
            "Object.prototype.toString.call(process) + typeof process.on + typeof process.memoryUsage().heapUsed",
            "[object process]functionnumber",
        ),
        ("process.env.NOPE === undefined && (process.env.X = 1, process.env.X)", "1"),
        (
            "typeof performance.now() + typeof setImmediate + typeof global + (global.Buffer === Buffer)",
            "numberfunctionobjecttrue",
        ),
    ]);
}

#[test]
fn hashes_and_derived_keys() {
    table(&[
        (
            "const { createHash } = require('crypto'); return ['md5', 'sha1', 'RSA-SHA256', 'SHA512', 'sha512-256', 'sha3-256'].map((n) => createHash(n).update('a').update(Buffer.from('bc')).digest('hex').slice(0, 12)).join()",
            "900150983cd2,a9993e364706,ba7816bf8f01,ddaf35a19361,53048e268194,3a985da74fe2",
        ),
        (
            "require('crypto').createHmac('sha256', 'key').update('data').digest('base64url')",
            "UDH-PZicbRU3oBP6bnOdojRj_a7DtwE32Cjjas4iG9A",
        ),
        (
            "const h = require('crypto').createHash('sha256'); h.update('x'); const c = h.copy(); return h.digest('hex') === c.digest('hex')",
            "true",
        ),
        (
            "const h = require('crypto').createHash('sha1'); h.digest(); try { h.update('x') } catch (e) { return e.code }",
            "ERR_CRYPTO_HASH_FINALIZED",
        ),
        ("try { require('crypto').createHash('nope') } catch (e) { return e.message }", "Digest method not supported"),
        (
            "const { pipeline } = require('stream/promises'); const h = require('crypto').createHash('md5'); await pipeline(require('stream').Readable.from([Buffer.from('abc')]), h); return h.read().toString('hex')",
            "900150983cd24fb0d6963f7d28e17f72",
        ),
        (
            "require('crypto').pbkdf2Sync('secret', 'salt', 1000, 24, 'sha512').toString('hex') + require('crypto').pbkdf2Sync('p', 's', 3, 40, 'md5').toString('hex')",
            "f76f72381b75f0deb1c339334a8c8974366cadbc6bf4646056c3fcba38438502744360d1160599e66576fd77a695398dc93c9ba47118d05cb1086ecb4b7e6613",
        ),
        (
            "(await require('util').promisify(require('crypto').scrypt)('pw', 'na', 32)).toString('hex')",
            "89c3e3ad2d1e84915edefb9b6ed2e2d4b782b4c5b8daaa04fe102c184adfc273",
        ),
        (
            "Buffer.from(require('crypto').hkdfSync('sha256', 'key', 'salt', 'info', 42)).toString('hex')",
            "9ca0d662557439e3b83365f2da4626d35da195c6d9d1779f09838cf9e408966ece99106e2585ace6f083",
        ),
        (
            "const c = require('crypto'); return c.timingSafeEqual(Buffer.from('a'), Buffer.from('a')) + ',' + c.randomBytes(7).length + ',' + /^[0-9a-f-]{36}$/.test(c.randomUUID()) + ',' + (c.randomInt(3, 4)) + ',' + c.randomFillSync(Buffer.alloc(3)).length",
            "true,7,true,3,3",
        ),
        (
            "try { require('crypto').timingSafeEqual(Buffer.from('a'), Buffer.from('ab')) } catch (e) { return e.code + e.message }",
            "ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTHInput buffers must have the same byte length",
        ),
    ]);
}

#[test]
fn ciphers_in_pieces() {
    table(&[
        (
            "const c = require('crypto'); const all = []; for (const n of ['aes-128-cbc', 'aes-192-ecb', 'aes-256-ctr', 'aes-256-cfb', 'aes-128-cfb8', 'aes-128-ofb', 'aes-256-gcm']) { const k = Buffer.alloc(Number(n.slice(4, 7)) / 8, 7); const iv = n.includes('ecb') ? null : Buffer.alloc(16, 9); const e = c.createCipheriv(n, k, iv); let t = e.update('some text of ', 'utf8', 'hex'); t += e.update('more than one block, in pieces', 'utf8', 'hex'); t += e.final('hex'); const d = c.createDecipheriv(n, k, iv); if (n.includes('gcm')) { d.setAuthTag(e.getAuthTag()); t += e.getAuthTag().toString('hex') } const b = Buffer.from(t, 'hex').subarray(0, n.includes('gcm') ? -16 : undefined); const back = d.update(b.subarray(0, 5), null, 'utf8') + d.update(b.subarray(5), null, 'utf8') + d.final('utf8'); all.push(t.slice(0, 20) + t.slice(-20) + back.length) } return all.join()",
            "7fa96316dac9bbd73579c803e06359932cb8423f43,610434bf1661d7d39f8a0685a92dbec33950b9a343,74d69547d546b927aa403ec9e737adb9ed7720f443,74d69547d546b927aa408e802510a6d02bcf719343,e2e44f382262f6c42aa2b298f8897b654eeeafac43,e2207fe589d14a133219e75468a470ef0768c56743,b1e5e0504f02510f2318c3196bc660a33bb6307743",
        ),
        (
            "const c = require('crypto'); const e = c.createCipheriv('aes-256-gcm', Buffer.alloc(32, 1), Buffer.alloc(12, 2)); e.setAAD(Buffer.from('head')); const t = Buffer.concat([e.update('text'), e.final()]); return t.toString('hex') + e.getAuthTag().toString('hex')",
            "73b3b13dc12b9944a84b34961fd07066322b9810",
        ),
        (
            "const c = require('crypto'); const d = c.createDecipheriv('aes-256-gcm', Buffer.alloc(32, 1), Buffer.alloc(12, 2)); d.setAuthTag(Buffer.alloc(16)); d.update('00', 'hex'); try { d.final() } catch (e) { return e.message }",
            "Unsupported state or unable to authenticate data",
        ),
        (
            "const c = require('crypto'); const e = c.createCipheriv('chacha20-poly1305', Buffer.alloc(32, 1), Buffer.alloc(12, 2), { authTagLength: 16 }); const t = Buffer.concat([e.update('text'), e.final()]); return t.toString('hex') + e.getAuthTag().toString('hex')",
            "92798a5a7e53fda971e3e363cce85d4a1c74997f",
        ),
        (
            "const c = require('crypto'); const d = c.createDecipheriv('aes-128-cbc', Buffer.alloc(16), Buffer.alloc(16)); d.update(Buffer.alloc(16, 3)); try { d.final() } catch (e) { return e.code }",
            "ERR_OSSL_BAD_DECRYPT",
        ),
        (
            "const c = require('crypto'); try { c.createCipheriv('aes-256-cbc', 'short', Buffer.alloc(16)) } catch (e) { return e.code + e.message }",
            "ERR_CRYPTO_INVALID_KEYLENInvalid key length",
        ),
        (
            "const c = require('crypto'); try { c.createCipheriv('aes-256-cbc', Buffer.alloc(32), Buffer.alloc(5)) } catch (e) { return e.code + e.message }",
            "ERR_CRYPTO_INVALID_IVInvalid initialization vector",
        ),
        (
            "const c = require('crypto'); const e = c.createCipheriv('aes-128-cbc', Buffer.alloc(16), Buffer.alloc(16)).setAutoPadding(false); return e.update(Buffer.alloc(32)).length + e.final().length",
            "32",
        ),
        (
            "JSON.stringify(require('crypto').getCipherInfo('aes-256-cbc'))",
            r#"{"mode":"cbc","name":"aes-256-cbc","nid":427,"blockSize":16,"ivLength":16,"keyLength":32}"#,
        ),
    ]);
}

#[test]
fn asymmetric_keys() {
    table(&[
        (
            "const c = require('crypto'); const { publicKey, privateKey } = c.generateKeyPairSync('rsa', { modulusLength: 2048 }); const s = c.createSign('RSA-SHA256').update('m').sign(privateKey); const v = (t, x) => c.createVerify('RSA-SHA256').update(t).verify(publicKey, x); return [v('m', s), v('n', s), publicKey.asymmetricKeyType, privateKey.asymmetricKeyDetails.modulusLength, s.length].join()",
            "true,false,rsa,2048,256",
        ),
        (
            r#"const c = require('crypto'); const { publicKey, privateKey } = c.generateKeyPairSync('ec', { namedCurve: 'P-256', publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'sec1', format: 'pem' } }); const s = c.sign('sha256', Buffer.from('m'), { key: privateKey, dsaEncoding: 'ieee-p1363' }); return [s.length, c.verify('sha256', Buffer.from('m'), { key: publicKey, dsaEncoding: 'ieee-p1363' }, s), privateKey.split('\n')[0], publicKey.split('\n')[0]].join()"#,
            "64,true,-----BEGIN EC PRIVATE KEY-----,-----BEGIN PUBLIC KEY-----",
        ),
        (
            "const c = require('crypto'); const { publicKey, privateKey } = c.generateKeyPairSync('ed25519'); return c.verify(null, Buffer.from('m'), publicKey, c.sign(null, Buffer.from('m'), privateKey)) + ',' + Object.keys(privateKey.export({ format: 'jwk' })).sort()",
            "true,crv,d,kty,x",
        ),
        (
            "const c = require('crypto'); const { publicKey, privateKey } = c.generateKeyPairSync('rsa', { modulusLength: 2048 }); const jwk = privateKey.export({ format: 'jwk' }); const back = c.createPrivateKey({ key: jwk, format: 'jwk' }); const pkcs1 = c.createPrivateKey(privateKey.export({ type: 'pkcs1', format: 'pem' })); const p2 = c.createPublicKey({ key: publicKey.export({ type: 'pkcs1', format: 'der' }), format: 'der', type: 'pkcs1' }); return [back.equals(privateKey), pkcs1.equals(privateKey), p2.equals(publicKey), c.createPublicKey(privateKey).equals(publicKey)].join()",
            "true,true,true,true",
        ),
        (
            "const c = require('crypto'); const { publicKey, privateKey } = c.generateKeyPairSync('rsa', { modulusLength: 2048 }); const t = (o) => c.privateDecrypt({ key: privateKey, ...o }, c.publicEncrypt({ key: publicKey, ...o }, Buffer.from('secret'))).toString(); return t({}) + t({ oaepHash: 'sha256' }) + t({ padding: c.constants.RSA_PKCS1_OAEP_PADDING, oaepLabel: Buffer.from('l') })",
            "secretsecretsecret",
        ),
        (
            "const c = require('crypto'); const { publicKey, privateKey } = c.generateKeyPairSync('rsa', { modulusLength: 2048 }); const pss = { padding: c.constants.RSA_PKCS1_PSS_PADDING }; const s = c.sign('sha256', Buffer.from('m'), { key: privateKey, ...pss }); const d = c.sign('sha256', Buffer.from('m'), { key: privateKey, ...pss, saltLength: c.constants.RSA_PSS_SALTLEN_DIGEST }); return [c.verify('sha256', Buffer.from('m'), { key: publicKey, ...pss }, s), c.verify('sha256', Buffer.from('m'), { key: publicKey, ...pss }, d), c.verify('sha256', Buffer.from('m'), { key: publicKey, ...pss, saltLength: 32 }, s)].join()",
            "true,true,false",
        ),
        (
            "const c = require('crypto'); const a = c.createECDH('prime256v1'); const b = c.createECDH('prime256v1'); a.generateKeys(); b.generateKeys(); return a.computeSecret(b.getPublicKey()).equals(b.computeSecret(a.getPublicKey())) + ',' + a.getPublicKey().length",
            "true,65",
        ),
        (
            "const c = require('crypto'); const a = c.generateKeyPairSync('x25519'); const b = c.generateKeyPairSync('x25519'); return c.diffieHellman({ privateKey: a.privateKey, publicKey: b.publicKey }).equals(c.diffieHellman({ privateKey: b.privateKey, publicKey: a.publicKey }))",
            "true",
        ),
        (
            "const c = require('crypto'); try { c.createPrivateKey('nonsense') } catch (e) { return e.message }",
            "error:1E08010C:DECODER routines::unsupported",
        ),
        (
            "const c = require('crypto'); const k = c.createSecretKey(Buffer.from('abc')); return k.type + k.symmetricKeySize + k.export().toString() + c.createHmac('sha1', k).update('').digest('hex')",
            "secret3abccc47e3c0aa0c2984454476d061108c0b110177ae",
        ),
        (
            "await new Promise((done) => require('crypto').generateKeyPair('ec', { namedCurve: 'secp384r1' }, (e, p, k) => done(p.asymmetricKeyDetails.namedCurve + k.type)))",
            "secp384r1private",
        ),
    ]);
}

#[test]
fn the_crypto_of_the_web() {
    table(&[
        (
            "Buffer.from(await crypto.subtle.digest('SHA-256', new TextEncoder().encode('abc'))).toString('hex')",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            "const k = await crypto.subtle.importKey('raw', Buffer.from('key'), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify']); const s = await crypto.subtle.sign('HMAC', k, Buffer.from('data')); return Buffer.from(s).toString('hex') + await crypto.subtle.verify('HMAC', k, s, Buffer.from('data'))",
            "5031fe3d989c6d1537a013fa6e739da23463fdaec3b70137d828e36ace221bd0true",
        ),
        (
            "const k = await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, true, ['encrypt', 'decrypt']); const iv = crypto.getRandomValues(new Uint8Array(12)); const e = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, k, Buffer.from('text')); return Buffer.from(await crypto.subtle.decrypt({ name: 'AES-GCM', iv }, k, e)).toString() + e.byteLength",
            "text20",
        ),
        (
            "const { publicKey, privateKey } = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']); const s = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, privateKey, Buffer.from('m')); const jwk = await crypto.subtle.exportKey('jwk', publicKey); const again = await crypto.subtle.importKey('jwk', jwk, { name: 'ECDSA', namedCurve: 'P-256' }, true, ['verify']); return s.byteLength + ',' + await crypto.subtle.verify({ name: 'ECDSA', hash: 'SHA-256' }, again, s, Buffer.from('m'))",
            "64,true",
        ),
        (
            "const { publicKey, privateKey } = await crypto.subtle.generateKey({ name: 'RSASSA-PKCS1-v1_5', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256' }, true, ['sign', 'verify']); const s = await crypto.subtle.sign('RSASSA-PKCS1-v1_5', privateKey, Buffer.from('m')); const spki = await crypto.subtle.exportKey('spki', publicKey); return spki.byteLength + ',' + await crypto.subtle.verify('RSASSA-PKCS1-v1_5', publicKey, s, Buffer.from('m')) + JSON.stringify(privateKey.algorithm.hash)",
            r#"294,true{"name":"SHA-256"}"#,
        ),
        (
            "const k = await crypto.subtle.importKey('raw', Buffer.from('pw'), 'PBKDF2', false, ['deriveBits']); return Buffer.from(await crypto.subtle.deriveBits({ name: 'PBKDF2', salt: Buffer.from('salt'), iterations: 10, hash: 'SHA-256' }, k, 128)).toString('hex')",
            "72aecd14244887c316e24019c7e020b5",
        ),
    ]);
}

#[test]
fn compression() {
    table(&[
        (
            "const z = require('zlib'); return z.gunzipSync(z.gzipSync('hello')).toString() + z.inflateSync(z.deflateSync(Buffer.from('a'))) + z.inflateRawSync(z.deflateRawSync('b')) + z.brotliDecompressSync(z.brotliCompressSync('c')) + z.unzipSync(z.gzipSync('d'))",
            "helloabcd",
        ),
        ("await new Promise((done) => require('zlib').gzip('x'.repeat(1000), (e, b) => done(b.length < 100)))", "true"),
        (
            "const z = require('zlib'); return (await require('util').promisify(z.gunzip)(await require('util').promisify(z.gzip)('p'))).toString()",
            "p",
        ),
        (
            "const z = require('zlib'); const { pipeline } = require('stream/promises'); const s = z.createGunzip(); const t = require('stream/consumers').text(s); await pipeline(require('stream').Readable.from([z.gzipSync('streamed')]), s); return await t",
            "streamed",
        ),
        (
            "try { require('zlib').gunzipSync('nonsense') } catch (e) { return e.code + e.errno + e.message }",
            "Z_DATA_ERROR-3incorrect header check",
        ),
        (
            "const z = require('zlib'); try { z.gunzipSync(z.gzipSync('cut off').subarray(0, 15)) } catch (e) { return e.code + e.message }",
            "Z_BUF_ERRORunexpected end of file",
        ),
        (
            "const z = require('zlib'); try { z.gunzipSync(z.gzipSync(Buffer.alloc(10000)), { maxOutputLength: 100 }) } catch (e) { return e.code }",
            "ERR_BUFFER_TOO_LARGE",
        ),
        (
            "require('zlib').crc32('hello') + ',' + require('zlib').constants.Z_BEST_COMPRESSION + typeof require('zlib').Gzip",
            "907060870,9function",
        ),
        (
            "const z = require('zlib'); const g = z.Gzip({ level: 9 }); g.end('q'); const c = []; for await (const x of g) c.push(x); return z.unzipSync(Buffer.concat(c)).toString()",
            "q",
        ),
    ]);
}

#[test]
fn the_utils_of_app_services() {
    table(&[
        (
            r#"utils.crypto.hmac('{"message":"MESSAGE"}', "12345", "sha256", "hex")"#,
            "828ee180512eaf8a6229eda7eea72323f68e9c0f0093b11a578b0544c5777862",
        ),
        (r#"JSON.stringify(utils.jwt.decode(utils.jwt.encode("HS256", { a: 1 }, "s"), "s", false))"#, r#"{"a":1}"#),
        (
            r#"JSON.stringify(utils.jwt.decode(utils.jwt.encode("HS512", '{"a":1}', "s", { kid: "k" }), "s", true))"#,
            r#"{"header":{"kid":"k","alg":"HS512","typ":"JWT"},"payload":{"a":1}}"#,
        ),
        (
            r#"utils.jwt.encode("HS256", { sub: "1234567890", name: "John Doe", iat: 1516239022 }, "your-256-bit-secret").split(".")[2]"#,
            "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
        ),
        (
            r#"utils.jwt.decode(utils.jwt.encode("HS256", {}, "s"), "other")"#,
            "Error: utils.jwt.decode: signature is invalid",
        ),
        (
            r#"utils.jwt.decode(utils.jwt.encode("HS256", { exp: 1 }, "s"), "s")"#,
            "Error: utils.jwt.decode: Token is expired",
        ),
        (
            r#"utils.jwt.decode(utils.jwt.encode("HS256", {}, "s"), "s", false, ["RS256"])"#,
            "Error: signing method HS256 is invalid: accepted are RS256",
        ),
        (
            r#"utils.jwt.decode("eyJhbGciOiJub25lIn0.e30.", "s")"#,
            "Error: 'none' is not a signing method: use HS, RS, ES or PS with 256, 384 or 512",
        ),
        (
            r#"const { publicKey, privateKey } = require("crypto").generateKeyPairSync("rsa", { modulusLength: 2048, publicKeyEncoding: { type: "spki", format: "pem" }, privateKeyEncoding: { type: "pkcs1", format: "pem" } }); const ways = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"].map((m) => utils.jwt.decode(utils.jwt.encode(m, { m }, privateKey), publicKey, false, [m]).m); try { utils.jwt.decode(utils.jwt.encode("HS256", {}, publicKey), publicKey) } catch (e) { ways.push(e.message.includes("public key")) } return ways.join()"#,
            "RS256,RS384,RS512,PS256,PS384,PS512,true",
        ),
        (
            r#"return [["ES256", "P-256"], ["ES384", "P-384"], ["ES512", "P-521"]].map(([m, namedCurve]) => { const { publicKey, privateKey } = require("crypto").generateKeyPairSync("ec", { namedCurve, publicKeyEncoding: { type: "spki", format: "pem" }, privateKeyEncoding: { type: "pkcs8", format: "pem" } }); return utils.jwt.decode(utils.jwt.encode(m, { m }, privateKey), publicKey).m }).join()"#,
            "ES256,ES384,ES512",
        ),
        (
            r#"return ["0123456789abcdef", "0123456789abcdef01234567", "0123456789abcdef0123456789abcdef"].map((key) => utils.crypto.decrypt("aes", utils.crypto.encrypt("aes", "müssage", key), key).text()).join()"#,
            "müssage,müssage,müssage",
        ),
        (
            r#"utils.crypto.encrypt("aes", "m", "short")"#,
            "Error: utils.crypto.encrypt: the key must have 16, 24 or 32 bytes, but has 5",
        ),
        (
            r#"const { publicKey, privateKey } = require("crypto").generateKeyPairSync("rsa", { modulusLength: 2048, publicKeyEncoding: { type: "pkcs1", format: "pem" }, privateKeyEncoding: { type: "pkcs1", format: "pem" } }); const c = utils.crypto; return ["pss", "pkcs1v15"].map((scheme) => [c.verify("rsa", "m", publicKey, c.sign("rsa", "m", privateKey, scheme), scheme), c.verify("rsa", "n", publicKey, c.sign("rsa", "m", privateKey, scheme), scheme)]).join() + c.verify("rsa", "m", publicKey, c.sign("rsa", "m", privateKey))"#,
            "true,false,true,falsetrue",
        ),
        (
            r#"["sha1", "sha256", "md5"].map((name) => utils.crypto.hash(name, "abc").toHex().slice(0, 8)).join() + utils.crypto.hash("md5", BSON.Binary.fromText("abc")).toBase64()"#,
            "a9993e36,ba7816bf,90015098kAFQmDzST7DWlj99KOF/cg==",
        ),
        (
            r#"utils.crypto.hash("sha3", "abc")"#,
            "Error: utils.crypto.hash: the hash function must be one of sha1, sha256, md5, but got 'sha3'",
        ),
        ("Object.isFrozen(utils) && Object.isFrozen(utils.jwt)", "true"),
    ]);
}
