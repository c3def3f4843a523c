import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatJson, formatJsonLine, type Json, JsonError, parseJson } from "./json.ts";

/* A lone surrogate cannot be written as UTF-8 at all. */
const isWellFormed = (text: string): boolean => !/\p{Surrogate}/u.test(text);
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const parse = (text: string): Json => parseJson(bytesOf(text));

/** What JSON.parse would have made of it. */
function plain(value: Json): unknown {
  switch (value.kind) {
    case "null":
      return null;
    case "boolean":
      return value.text === "true";
    case "number":
      return Number(value.text);
    case "string":
      return value.text;
    case "array":
      return value.items.map(plain);
    default: {
      const object: Record<string, unknown> = Object.create(null);
      value.items.forEach((item, i) => {
        Object.defineProperty(object, value.keys[i] ?? "", {
          value: plain(item),
          enumerable: true,
          configurable: true,
        });
      });
      return object;
    }
  }
}

function errorOf(text: string | Uint8Array): string {
  try {
    parseJson(typeof text === "string" ? bytesOf(text) : text);
  } catch (error) {
    if (error instanceof JsonError) return error.message;
    throw error;
  }
  return "no error";
}

const wellFormed = fc.string({ unit: "binary" }).filter(isWellFormed);
const document = fc
  .jsonValue({ maxDepth: 6, stringUnit: "binary" })
  .filter((value) => isWellFormed(JSON.stringify(value)));

describe("parseJson against JSON.parse", () => {
  test("every document JSON.stringify writes", () => {
    fc.assert(
      fc.property(document, fc.constantFrom(0, 2, "\t"), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        expect(JSON.stringify(plain(parse(text)))).toBe(JSON.stringify(JSON.parse(text)));
      }),
      { numRuns: 1000 },
    );
  });

  test("every string, also one that begins with a byte order mark", () => {
    fc.assert(
      fc.property(wellFormed, (text) => {
        expect(parse(JSON.stringify(text)).text).toBe(text);
      }),
      { numRuns: 1000 },
    );
    for (const text of [
      "\ufeff",
      "\ufeffa",
      '"\ufeffb',
      "\\\ufeff",
      "a\ufeff",
      "\u0000",
      "\u007f",
      "\u2028",
      "\u{1f600}",
    ]) {
      expect(parse(JSON.stringify(text)).text, JSON.stringify(text)).toBe(text);
    }
  });

  test("accepts and refuses what JSON.parse does", () => {
    const pieces = fc.constantFrom(
      ...'{}[]:,"\\/ \t\n0123456789+-.eE'.split(""),
      "true",
      "false",
      "null",
      "\\u00e9",
      "\\ud83d",
      "\\ude00",
      "\\x",
      "\u0001",
      "\u00a0",
      "é",
      '"a"',
      '"a":',
      "1e5",
      "-0",
      "01",
    );
    fc.assert(
      fc.property(
        fc.array(pieces, { maxLength: 12 }).map((list) => list.join("")),
        (text) => {
          let expected: unknown = "refused";
          try {
            expected = JSON.parse(text);
          } catch {}
          let found: unknown = "refused";
          try {
            found = plain(parse(text));
          } catch (error) {
            expect(error).toBeInstanceOf(JsonError);
          }
          if (JSON.stringify(expected)?.includes("\\ud")) return;
          expect(JSON.stringify(found)).toBe(JSON.stringify(expected));
        },
      ),
      { numRuns: 20_000 },
    );
  });

  test("any bytes at all: a value or a JsonError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          parseJson(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(JsonError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("numbers keep their text", () => {
    for (const text of ["18446744073709551615", "-0", "1e400", "0.1", "1E-7", "123456789012345678901234567890"]) {
      expect(parse(text).text).toBe(text);
      expect(formatJson(parse(text))).toBe(text);
    }
  });

  test("escapes, pairs of surrogates and halves of them", () => {
    expect(parse('"\\b\\f\\n\\r\\t\\/\\\\\\"\\u0041\\u00E9"').text).toBe('\b\f\n\r\t/\\"Aé');
    expect(parse('"\\ud83d\\ude00"').text).toBe("\u{1f600}");
    expect(parse('"\\ud83d"').text).toBe("\ufffd");
    expect(parse('"\\ud83dx"').text).toBe("\ufffdx");
    expect(parse('"\\ud83d\\n"').text).toBe("\ufffd\n");
    expect(parse('"\\ud83d\\u0041"').text).toBe("\ufffdA");
    expect(parse('"\\ud83d\\ud83d\\ude00"').text).toBe("\ufffd\u{1f600}");
    expect(parse('"\\ude00"').text).toBe("\ufffd");
  });

  test("ill-formed UTF-8 inside a string becomes the replacement character", () => {
    expect(parseJson(new Uint8Array([0x22, 0x61, 0xff, 0x62, 0x22])).text).toBe("a\ufffdb");
    expect(parseJson(new Uint8Array([0x22, 0xed, 0xa0, 0x80, 0x22])).text).toMatch(/^\ufffd+$/);
  });

  test("the last of two equal names counts", () => {
    expect(parse('{"a":1,"b":2,"a":3}').get("a")?.text).toBe("3");
    expect(parse('{"a":1}').get("b")).toBeNull();
    expect(parse("[1]").get("a")).toBeNull();
  });
});

describe("limits and error positions", () => {
  test("64 levels pass, more do not", () => {
    expect(errorOf("[".repeat(64) + "]".repeat(64))).toBe("no error");
    expect(errorOf("[".repeat(66) + "]".repeat(66))).toBe("nested more than 64 levels deep");
    expect(errorOf(`${'{"a":'.repeat(66)}1${"}".repeat(66)}`)).toBe("nested more than 64 levels deep");
    expect(errorOf("[".repeat(1_000_000))).toBe("nested more than 64 levels deep");
  });

  test.each([
    ["", "unexpected end of JSON input"],
    ["   ", "unexpected end of JSON input"],
    ["{", "unexpected end of JSON input"],
    ['{"a"', "unexpected end of JSON input"],
    ['{"a":', "unexpected end of JSON input"],
    ['{"a":1', "unexpected end of JSON input"],
    ["[1,", "unexpected end of JSON input"],
    ['"abc', "unexpected end of JSON input"],
    ['"abc\\', "unexpected end of JSON input"],
    ['"\\u12', "unexpected end of JSON input"],
    ["-", "unexpected end of JSON input"],
    ["1.", "unexpected end of JSON input"],
    ["1e", "unexpected end of JSON input"],
    ["tru", "invalid character 't' where a value should begin, line 1 column 1"],
    ["{a:1}", "invalid character 'a' where a name in quotes should begin, line 1 column 2"],
    ['{"a":1,}', "invalid character '}' where a name in quotes should begin, line 1 column 8"],
    ["[1,]", "invalid character ']' where a value should begin, line 1 column 4"],
    ['{"a" 1}', "invalid character '1' where ':' should follow a name, line 1 column 6"],
    ['{"a":1 "b"}', "invalid character '\"' where ',' or '}' should follow a member, line 1 column 8"],
    ["[1 2]", "invalid character '2' where ',' or ']' should follow an element, line 1 column 4"],
    ["01", "invalid character '1' after the top-level value, line 1 column 2"],
    ["{}{}", "invalid character '{' after the top-level value, line 1 column 3"],
    ['{\n  "a": 1,\n  x\n}', "invalid character 'x' where a name in quotes should begin, line 3 column 3"],
    ['"a\nb"', "invalid character byte 0xa inside a string, line 1 column 3"],
    ['"\\x"', "invalid character 'x' after a backslash, line 1 column 3"],
    ['"\\u00zz"', "invalid character 'z' in a \\u escape, line 1 column 6"],
    ["1.x", "invalid character 'x' in a number, line 1 column 3"],
    ["\u0000", "invalid character byte 0x0 where a value should begin, line 1 column 1"],
    ["\ufeff{}", "invalid character byte 0xef where a value should begin, line 1 column 1"],
  ])("%j: %s", (text, message) => {
    expect(errorOf(text)).toBe(message);
  });
});

describe("formatting", () => {
  test("reads back as what it was, on one line and on many", () => {
    fc.assert(
      fc.property(document, (value) => {
        const json = parse(JSON.stringify(value));
        const expected = JSON.stringify(JSON.parse(JSON.stringify(value)));
        expect(JSON.stringify(JSON.parse(formatJson(json)))).toBe(expected);
        expect(JSON.stringify(JSON.parse(formatJsonLine(json)))).toBe(expected);
        expect(formatJsonLine(json)).not.toContain("\n");
      }),
      { numRuns: 1000 },
    );
  });

  test("four spaces a level, empty ones closed at once", () => {
    const value = { cniVersion: "1.0.0", ips: [{ address: "10.0.0.2/24" }], routes: [], dns: {} };
    const json = parse(JSON.stringify(value));
    expect(formatJson(json)).toBe(JSON.stringify(value, null, 4));
    expect(formatJsonLine(json)).toBe(JSON.stringify(value));
  });
});
