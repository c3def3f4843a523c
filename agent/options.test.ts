import { describe, expect, it } from "vitest";
import { CniError } from "../lib/errors.ts";
import { type Options, readOptions } from "./options.ts";

const read = (list: string[], environment: Record<string, string> = {}): Options =>
  readOptions(list, (name) => environment[name] ?? "");

function problem(list: string[]): string {
  try {
    read(list);
  } catch (error) {
    if (error instanceof CniError) return error.message;
    throw error;
  }
  return "";
}

describe("readOptions", () => {
  it("takes arguments before the environment before what is usual", () => {
    expect(read(["--log=json", "--node", "a"], { NODE_NAME: "b", PODWIRE_CONF_NAME: "x.conflist" })).toEqual({
      command: "run",
      node: "a",
      settings: "/etc/podwire/network.json",
      ipMasq: "",
      confDir: "/etc/cni/net.d",
      confName: "x.conflist",
      runDir: "/run/podwire/agent",
      kubeconfig: "",
      context: "",
      server: "",
      serviceAccount: "/var/run/secrets/kubernetes.io/serviceaccount",
      procSys: "/proc/sys",
      log: "json",
      metrics: "",
    });
  });

  it.each([
    [["check"], "check"],
    [["status"], "status"],
    [["version"], "version"],
    [["--version"], "version"],
    [["--help"], "help"],
    [["run", "--node=a"], "run"],
    [["--node=a", "run"], "run"],
  ])("%j is %s", (list, command) => {
    expect(read(list).command).toBe(command);
  });

  it.each([
    [[], '--node: expected this node\'s name in the API, found ""'],
    [["--node=../x"], "--node: expected"],
    [["--node=a", "--conf-dir=etc"], "--conf-dir: expected an absolute path"],
    [["--node=a", "--proc-sys=/host/../proc"], "--proc-sys: expected an absolute path"],
    [["check", "--run-dir=run"], "--run-dir: expected an absolute path"],
    [["--node=a", "--conf-name=../x.conflist"], "--conf-name: expected"],
    [["--node=a", "--conf-name=x.conf"], "--conf-name: expected a file name that ends in .conflist"],
    [["--node=a", "--metrics=/tmp/x"], "--metrics: expected the absolute path of a file that ends in .prom"],
    [["--node=a", "--log=xml"], '--log: expected text or json, found "xml"'],
    [["--node=a", "--server=h:1", "--kubeconfig=/k"], "--server and --kubeconfig are alternatives"],
    [["--node"], "--node needs a value"],
    [["walk"], 'unknown argument "walk"'],
    [["run", "check"], 'unknown argument "check"'],
  ])("refuses %j", (list, expected) => {
    expect(problem(list)).toContain(expected);
  });
});
