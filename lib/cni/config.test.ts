import { describe, expect, test } from "vitest";
import { CniError } from "../errors.ts";
import { MAX_CONFIG_BYTES, type NetworkConfig, readConfig, versionForErrors } from "./config.ts";

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const read = (value: unknown): NetworkConfig => readConfig(bytesOf(JSON.stringify(value)));

function failure(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof CniError) return `${error.code} ${error.message}`;
    throw error;
  }
  return "no error";
}

describe("the configuration", () => {
  test("name, version, type and the bytes for delegates", () => {
    const text = '{ "name":"n1", "cniVersion":"1.0.0", "type":"bridge" }';
    const config = readConfig(bytesOf(text));
    expect([config.name, config.cniVersion, config.type]).toEqual(["n1", "1.0.0", "bridge"]);
    expect(new TextDecoder().decode(config.bytes)).toBe(text);
  });

  test("no version, an empty and a null one mean 0.1.0; an unknown one is left to later", () => {
    expect(read({ name: "n" }).cniVersion).toBe("0.1.0");
    expect(read({ name: "n", cniVersion: "" }).cniVersion).toBe("0.1.0");
    expect(read({ name: "n", cniVersion: null }).cniVersion).toBe("0.1.0");
    expect(read({ name: "n", cniVersion: "9.8.7" }).cniVersion).toBe("9.8.7");
  });

  test.each([
    ["", "6 error unmarshall network config: unexpected end of JSON input"],
    ["{", "6 error unmarshall network config: unexpected end of JSON input"],
    ["[]", "6 error unmarshall network config: expected an object, found array"],
    ["null", "6 error unmarshall network config: expected an object, found null"],
    ["{}", "7 missing network name"],
    ['{"name":""}', "7 missing network name"],
    ['{"name":null}', "7 missing network name"],
    ['{"name":"a/b"}', "7 invalid characters found in network name"],
    ['{"name":"../x"}', "7 invalid characters found in network name"],
    ['{"name":"a\\u0000"}', "7 invalid characters found in network name"],
    [`{"name":"${"x".repeat(201)}"}`, "7 network name is too long"],
    ['{"name":5}', '7 invalid value for "name": expected a string, found the number 5'],
    ['{"name":"n","cniVersion":1}', '7 invalid value for "cniVersion": expected a string, found the number 1'],
  ])("%s: %s", (text, message) => {
    expect(failure(() => readConfig(bytesOf(text)))).toBe(message);
  });

  test("more than 4 MiB is refused without being read", () => {
    const started = performance.now();
    expect(failure(() => readConfig(new Uint8Array(MAX_CONFIG_BYTES + 1)))).toBe(
      `6 error unmarshall network config: longer than ${MAX_CONFIG_BYTES} bytes`,
    );
    expect(performance.now() - started).toBeLessThan(100);
  });
});

describe("the version of an error", () => {
  test.each([
    ['{"cniVersion":"0.4.0"}', "0.4.0"],
    ["{}", "0.1.0"],
    ['{"cniVersion":""}', "0.1.0"],
    ['{"cniVersion":"9.8.7"}', "1.1.0"],
    ['{"cniVersion":5}', "1.1.0"],
    ["{", "1.1.0"],
    ["", "1.1.0"],
  ])("%s: %s", (text, version) => {
    expect(versionForErrors(bytesOf(text), "1.1.0")).toBe(version);
  });
});

describe("common members", () => {
  test("prevResult", () => {
    expect(read({ name: "n", cniVersion: "1.0.0" }).prevResult()).toBeNull();
    expect(read({ name: "n", cniVersion: "1.0.0", prevResult: null }).prevResult()).toBeNull();
    expect(
      read({ name: "n", cniVersion: "1.0.0", prevResult: { ips: [{ address: "::1/128" }] } }).prevResult()?.ips,
    ).toHaveLength(1);
  });

  test("runtimeConfig and args.cni are empty where absent and name their fields", () => {
    expect(read({ name: "n" }).runtimeConfig().has("mac")).toBe(false);
    expect(read({ name: "n" }).cniArgs().has("mac")).toBe(false);
    const config = read({ name: "n", runtimeConfig: { mac: 1 }, args: { cni: { mac: 2 } } });
    expect(failure(() => config.runtimeConfig().string("mac", ""))).toContain('"runtimeConfig.mac"');
    expect(failure(() => config.cniArgs().string("mac", ""))).toContain('"args.cni.mac"');
  });

  test("dns is null unless one of its keys is set, be it to an empty list", () => {
    expect(read({ name: "n" }).dns()).toBeNull();
    expect(read({ name: "n", dns: {} }).dns()).toBeNull();
    expect(read({ name: "n", dns: { other: 1 } }).dns()).toBeNull();
    expect(read({ name: "n", dns: { nameservers: [] } }).dns()).not.toBeNull();
    expect(read({ name: "n", dns: { domain: "x" } }).dns()?.domain).toBe("x");
  });

  test("valid attachments: absent means unknown, null and empty mean none, an entry needs both names", () => {
    const KEY = "cni.dev/valid-attachments";
    expect(read({ name: "n" }).validAttachments()).toBeNull();
    expect(read({ name: "n", [KEY]: null }).validAttachments()).toEqual([]);
    expect(read({ name: "n", [KEY.toUpperCase()]: null }).validAttachments()).toEqual([]);
    expect(read({ name: "n", [KEY]: [] }).validAttachments()).toEqual([]);
    const attachments = [{ containerID: "a", ifname: "eth0" }];
    const kept = [{ containerId: "a", ifname: "eth0" }];
    for (const lists of [
      { "cni.dev/attachments": attachments },
      { "cni.dev/attachments": attachments, [KEY]: null },
      { "cni.dev/attachments": null, [KEY]: attachments },
      { "cni.dev/attachments": [], [KEY]: attachments },
    ]) {
      expect(read({ name: "n", ...lists }).validAttachments()).toEqual(kept);
    }
    expect(read({ name: "n", "cni.dev/attachments": null }).validAttachments()).toEqual([]);
  });

  test.each([
    [[{ ifname: "eth0" }], "[0].containerID"],
    [[{ containerID: "a" }], "[0].ifname"],
    [[{ containerID: "a", ifname: "" }], "[0].ifname"],
    [[{ containerID: 5, ifname: "eth0" }], "[0].containerID"],
    [[{ containerID: "a", ifname: ["eth0"] }], "[0].ifname"],
    [[null], "[0]"],
    [["a"], "[0]"],
    [{}, ""],
    ["", ""],
    [false, ""],
    [0, ""],
  ])("valid attachments %j: refused, with the place", (list, place) => {
    for (const key of ["cni.dev/valid-attachments", "cni.dev/attachments"]) {
      const broken = read({ name: "n", [key]: list });
      expect(failure(() => broken.validAttachments())).toContain(`7 invalid value for "${key}${place}"`);
    }
  });
});
