import { describe, expect, test } from "vitest";
import { chosenPlugin, pluginsNamed } from "./names.ts";
import type { Plugin } from "./plugin.ts";

const nothing = () => {};
const plugins = ["bandwidth", "bridge", "firewall", "host-local", "loopback", "portmap", "tuning", "vxlan-overlay"].map(
  (name): Plugin => ({
    name,
    versions: [],
    add: () => {
      throw new Error("not called");
    },
    check: nothing,
    del: nothing,
    gc: nothing,
    status: nothing,
    explain: () => [],
    repair: null,
  }),
);
const named = (fileName: string): string[] => pluginsNamed(plugins, fileName).map(({ name }) => name);

describe("pluginsNamed", () => {
  test.each(plugins.map(({ name }) => name))("%s alone, behind a prefix, before a suffix, between both", (name) => {
    for (const fileName of [
      name,
      `buildkit-cni-${name}`,
      `cnv_${name}`,
      `${name}-v2`,
      `${name}.2.0.0`,
      `a.${name}_b`,
    ]) {
      expect(named(fileName)).toEqual([name]);
    }
  });

  test.each(["", "podwire", "cnibridge", "bridges", "bridge2", "2bridge", "öbridge", "Bridge", "host_local", "vxlan"])(
    "%j names none",
    (fileName) => {
      expect(named(fileName)).toEqual([]);
    },
  );

  test("a name that also begins a word is found where it is one", () => {
    expect(named("bridges-bridge")).toEqual(["bridge"]);
    expect(named("bridge (deleted)")).toEqual(["bridge"]);
  });

  test("two names are both found", () => {
    expect(named("a-loopback.bandwidth")).toEqual(["bandwidth", "loopback"]);
    expect(named("host-local-bridge")).toEqual(["bridge", "host-local"]);
  });
});

describe("chosenPlugin", () => {
  test.each([
    ["bridge", "bridge", "bridge"],
    ["bridge", "portmap", "bridge"],
    ["anything", "portmap", "portmap"],
    ["cnv-bridge", "podwire", "bridge"],
    ["cnv-bridge", "bridge", "bridge"],
    ["cnv-bridge", "cnv-bridge", "bridge"],
    ["anything", "cnv-bridge", "bridge"],
    ["bridge", "host-local-portmap", "bridge"],
  ])("%s, a link to %s: %s", (started, file, name) => {
    expect(chosenPlugin(plugins, started, () => file).name).toBe(name);
  });

  test.each([
    ["podwire", "podwire", 'started as "podwire", which names no plugin of Podwire'],
    ["a", "b", 'started as "a", a link to "b", which names no plugin of Podwire'],
    [
      "bridge-portmap",
      "bridge-portmap",
      'started as "bridge-portmap", which names several plugins of Podwire: bridge, portmap',
    ],
    ["cnv-bridge", "portmap", 'started as "cnv-bridge", a link to "portmap", which names several'],
  ])("%s, a link to %s: refused", (started, file, message) => {
    expect(() => chosenPlugin(plugins, started, () => file)).toThrow(message);
  });
});
