import { describe, expect, test } from "vitest";
import { isPlainPath, readOptions } from "./options.ts";

const read = (variables: Record<string, string>) => (name: string) => variables[name] ?? "";

describe("readOptions", () => {
  test("without anything: the plugins only, where containers mount the node's directory", () => {
    expect(readOptions([], read({}))).toEqual({
      binDir: "/host/opt/cni/bin",
      confDir: "",
      confName: "10-podwire.conflist",
      template: "",
      ranges: "",
      nodes: "",
      node: "",
      uninstall: false,
      wait: false,
      help: false,
    });
  });

  test("arguments in both forms, environment variables, and who wins", () => {
    const variables = { PODWIRE_CONF_DIR: "/c", PODWIRE_TEMPLATE: "/t", PODWIRE_NODES: "/n", PODWIRE_NODE: "a" };
    const options = readOptions(["--conf-dir", "/d", "--node=b=c", "--wait"], read(variables));
    expect(options).toMatchObject({ confDir: "/d", template: "/t", nodes: "/n", node: "b=c", wait: true });
  });

  test.each([
    [["install"], 'unknown argument "install"'],
    [["--force"], 'unknown argument "--force"'],
    [["--wait=1"], 'unknown argument "--wait=1"'],
    [["--bin-dir"], "--bin-dir needs a value"],
    [["--bin-dir", "opt/cni/bin"], "--bin-dir: expected an absolute path"],
    [["--bin-dir", "/opt/../etc"], "--bin-dir: expected an absolute path"],
    [["--conf-dir", "/", "--template", "/t"], "--conf-dir: expected an absolute path"],
    [["--conf-name", "../x.conflist"], "--conf-name: expected a file name"],
    [["--conf-name", ".conflist"], "--conf-name: expected a file name"],
    [["--conf-name", "x.conf"], "--conf-name: expected a file name"],
    [["--template", "/t"], "--template needs --conf-dir"],
    [["--conf-dir", "/c"], "--conf-dir needs --template"],
    [["--ranges", "10.0.0.0/8", "--nodes", "/n", "--node", "a"], "--ranges and --nodes are alternatives"],
    [["--nodes", "/n"], "--nodes and --node need each other"],
  ])("%j is refused", (list, message) => {
    expect(() => readOptions(list, read({}))).toThrow(message);
  });
});

test.each([
  ["/opt/cni/bin", true],
  ["/a", true],
  ["/...", true],
  ["", false],
  ["/", false],
  ["opt", false],
  ["/opt/", false],
  ["/opt//cni", false],
  ["/opt/./cni", false],
  ["/opt/../cni", false],
  ["/opt\0/cni", false],
])("isPlainPath(%j) is %s", (path, plain) => {
  expect(isPlainPath(path)).toBe(plain);
});
