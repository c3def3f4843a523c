/** podwire-agent: the executable. */
import { environmentVariable } from "../lib/cni/environment.ts";
import { CniError } from "../lib/errors.ts";
import { print, readText, warn } from "../lib/host/io.ts";
import { setSysctlRoot } from "../lib/host/sysctl.ts";
import { readInput } from "../lib/install/files.ts";
import { DiskFiles } from "../lib/kubernetes/disk-files.ts";
import { InCluster } from "../lib/kubernetes/in-cluster.ts";
import { Kubeconfig } from "../lib/kubernetes/kubeconfig.ts";
import { type ApiServer, parseServerUrl, ServerError } from "../lib/kubernetes/server.ts";
import { reportCrashes, returnMemory } from "../lib/sys/loop.ts";
import { exit } from "../lib/sys/sys.ts";
import { tlsVersion } from "../lib/sys/tls.ts";
import project from "../package.json" with { type: "json" };
import { Agent } from "./agent.ts";
import { ApiAccess } from "./api-access.ts";
import { judgement } from "./check.ts";
import { Log } from "./log.ts";
import { ConflistFile, RunDirectory } from "./node-files.ts";
import { type Options, readOptions, USAGE } from "./options.ts";
import { readSettings } from "./settings.ts";
import { isAgentRunning, lockAgent, StatusFile, statusPath } from "./status-file.ts";
import { Sync } from "./sync.ts";
import { uninstall } from "./uninstall.ts";

/** Does what the command line says; returns the exit status. */
function main(list: readonly string[]): number {
  try {
    const options = readOptions(list, environmentVariable);
    switch (options.command) {
      case "run":
        return runAgent(options);
      case "check":
        return check(new RunDirectory(options.runDir));
      case "status":
        return status(new RunDirectory(options.runDir));
      case "uninstall":
        return takeAway(options);
      case "help":
        print(USAGE);
        return 0;
      default:
        print(`podwire-agent ${project.version}\nmbedTLS ${tlsVersion()}\n`);
        return 0;
    }
  } catch (error) {
    warn(`podwire-agent: ${describe(error instanceof Error ? error : new Error(`${error}`))}\n`);
    return 1;
  }
}

function describe(error: Error): string {
  if (error instanceof CniError && error.details !== "") return `${error.message}\n  ${error.details}`;
  return error.message;
}

function runAgent(options: Options): number {
  const settings = readSettings(readInput(options.settings), options.settings);
  const log = new Log(options.log === "json" ? "json" : "text");
  setSysctlRoot(options.procSys);
  const server = serverOf(options);
  const run = new RunDirectory(options.runDir);
  lockAgent(run);
  const places = { run, list: new ConflistFile(options.confDir, options.confName), ipMasq: options.ipMasq };
  const sync = new Sync(settings, options.node, places, project.version, log);
  const status = new StatusFile(run, options.node, project.version, options.metrics);
  log.info(`podwire-agent ${project.version} on node ${options.node}, API server ${server.host} port ${server.port}`);
  new Agent(settings, options.node, new ApiAccess(server, project.version), sync, status, log).run();
  return 0;
}

/** @throws ServerError */
function serverOf(options: Options): ApiServer {
  const files = new DiskFiles();
  if (options.kubeconfig !== "") return new Kubeconfig(options.kubeconfig, options.context, files);
  const given = options.server === "" ? null : parseServerUrl(`https://${options.server}`, "--server");
  if (given !== null && given.basePath !== "")
    throw new ServerError(`--server: expected HOST:PORT, found "${options.server}"`);
  const host = given === null ? environmentVariable("KUBERNETES_SERVICE_HOST") : given.host;
  const port = given === null ? environmentVariable("KUBERNETES_SERVICE_PORT") : `${given.port}`;
  return new InCluster({ host, port, directory: options.serviceAccount }, files);
}

/** For a probe: one line, and the exit status. */
function check(run: RunDirectory): number {
  const problem = judgement(readText(statusPath(run)), isAgentRunning(run), Date.now());
  print(problem === "" ? "the network of this node is as it should be\n" : `${problem}\n`);
  return problem === "" ? 0 : 1;
}

function status(run: RunDirectory): number {
  const text = readText(statusPath(run));
  if (text === null) {
    warn(`podwire-agent: there is no ${statusPath(run)}: no agent has run since this node started\n`);
    return 1;
  }
  print(`${text}\n`);
  if (!isAgentRunning(run)) warn("podwire-agent: the agent does not run: this is what it knew when it ended\n");
  return 0;
}

/** Not while an agent runs: it would put all of it back. */
function takeAway(options: Options): number {
  const run = new RunDirectory(options.runDir);
  lockAgent(run);
  uninstall(new ConflistFile(options.confDir, options.confName), run);
  return 0;
}

reportCrashes();
returnMemory();
exit(main(process.argv.slice(2)));
