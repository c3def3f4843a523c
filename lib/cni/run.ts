/**
 * The life of a call: read the request, read and check the configuration, run the verb, print one JSON document.
 * The checks have the order of the reference library (skel), on which runtimes and their tests rely.
 */

import {
  CniError,
  INCOMPATIBLE_VERSION,
  INTERNAL,
  INVALID_ENVIRONMENT,
  INVALID_NETNS,
  IO_FAILURE,
  NOT_AVAILABLE,
  TRY_AGAIN_LATER,
} from "../errors.ts";
import { hasPrinted, print, printLast, warn } from "../host/io.ts";
import { isTracing, trace } from "../host/trace.ts";
import { textAt } from "../lists.ts";
import { adviceFor, isTransient, SystemError } from "../sys/errno.ts";
import * as sys from "../sys/sys.ts";
import { runByHand } from "./by-hand.ts";
import { readConfig, versionForErrors } from "./config.ts";
import { FoundDelegates } from "./delegate.ts";
import { environmentVariable, type Request, readRequest } from "./environment.ts";
import { readInput, requireVersion } from "./input.ts";
import { formatJson, formatJsonLine, type Json, jsonNumber, jsonObject, jsonString, jsonStrings } from "./json.ts";
import { chosenPlugin } from "./names.ts";
import type { Call, Plugin } from "./plugin.ts";
import { encodeResult } from "./result.ts";
import { CURRENT_VERSION, compareVersions } from "./version.ts";

/** The verbs that later versions of the specification added, with that version. */
const SINCE: readonly (readonly [string, string])[] = [
  ["CHECK", "0.4.0"],
  ["GC", "1.1.0"],
  ["STATUS", "1.1.0"],
];

const NO_LIST = 'the configuration has no "cni.dev/valid-attachments", so GC removed nothing';

/**
 * Serves one call of the plugin that this process was started as, and returns the exit status.
 * @param plugins all plugins of this executable
 * @param release the version of Podwire
 */
export function run(plugins: readonly Plugin[], release: string): number {
  sys.catchSignals();
  let input: Uint8Array | null = null;
  try {
    const plugin = chosenPlugin(plugins, baseName(textAt(process.argv, 1)), ownFile);
    /* With CNI_COMMAND, arguments are ignored, as in the reference. */
    if (environmentVariable("CNI_COMMAND") === "") {
      runByHand(plugins, plugin, release, process.argv.slice(2));
      return 0;
    }
    const request = readRequest(environmentVariable);
    if (isTracing())
      trace(`${plugin.name} ${release}: ${request.command} ${request.containerId} ${request.ifname} ${request.netns}`);
    if (request.command === "VERSION") {
      print(`${formatJsonLine(versionAnswer(plugin))}\n`);
      return 0;
    }
    input = readInput();
    const config = readConfig(input);
    serve({ request, config, delegates: new FoundDelegates(plugins, plugin.name, request, config) }, plugin);
    return 0;
  } catch (error) {
    printError(asCniError(error instanceof Error ? error : new Error(String(error))), input);
    return 1;
  }
}

/** Any failure as a CniError: code 11 if another try may succeed, 5 for other system errors, 999 for a defect of Podwire. */
export function asCniError(error: Error): CniError {
  if (error instanceof CniError) return error;
  if (error instanceof SystemError) {
    return new CniError(isTransient(error.errno) ? TRY_AGAIN_LATER : IO_FAILURE, error.message, adviceFor(error.errno));
  }
  return new CniError(INTERNAL, `internal error: ${error.message}`, "this is a defect of Podwire: please report it");
}

/** The file name of this executable; "" if it is not known. */
function ownFile(): string {
  return baseName(sys.readlink("/proc/self/exe") ?? "");
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

function versionAnswer(plugin: Plugin) {
  return jsonObject()
    .with("cniVersion", jsonString(CURRENT_VERSION))
    .with("supportedVersions", jsonStrings(plugin.versions));
}

function serve(call: Call, plugin: Plugin): void {
  const { request, config } = call;
  checkVerb(request.command, config.cniVersion);
  requireVersion(config.cniVersion, plugin);
  checkNamespace(request);
  /* Checked for every plugin, also if it does not use it. Not for DEL, which must work with an invalid configuration. */
  if (["ADD", "CHECK"].includes(request.command)) config.fields.object("prevResult");
  switch (request.command) {
    case "ADD":
      printResult(call, plugin);
      return;
    case "CHECK":
      plugin.check(call);
      return;
    case "DEL":
      plugin.del(call);
      return;
    case "GC":
      if (config.validAttachments() === null) warn(`${plugin.name}: ${NO_LIST}\n`);
      plugin.gc(call);
      return;
    default:
      checkStatus(call, plugin);
  }
}

/** STATUS: a system error here (code 5) becomes code 50, since it would make an ADD fail as well. */
function checkStatus(call: Call, plugin: Plugin): void {
  try {
    plugin.status(call);
  } catch (error) {
    const failure = asCniError(error instanceof Error ? error : new Error(String(error)));
    throw failure.code === IO_FAILURE ? new CniError(NOT_AVAILABLE, failure.message, failure.details) : failure;
  }
}

/** Checks that the verb exists in the configuration's version. @throws CniError 4, 1 */
function checkVerb(command: string, version: string): void {
  if (!["ADD", "CHECK", "DEL", "GC", "STATUS"].includes(command)) {
    throw new CniError(INVALID_ENVIRONMENT, `unknown CNI_COMMAND: ${command.slice(0, 80)}`);
  }
  for (const [verb, since] of SINCE) {
    if (verb === command && compareVersions(version, since) < 0) {
      throw new CniError(
        INCOMPATIBLE_VERSION,
        `config version does not allow ${verb}`,
        `${verb} came with CNI ${since}, the configuration says ${version}`,
      );
    }
  }
}

/** Refuses the namespace in which the plugin itself runs, before any change. @throws CniError 8 */
function checkNamespace(request: Request): void {
  if (request.netnsOverride || request.netns === "" || !["ADD", "CHECK", "DEL"].includes(request.command)) return;
  const theirs = sys.fstatat(sys.AT_FDCWD, request.netns, 0);
  const ours = sys.fstatat(sys.AT_FDCWD, "/proc/self/ns/net", 0);
  if (theirs === null || ours === null || theirs.inode !== ours.inode || theirs.device !== ours.device) return;
  throw new CniError(
    INVALID_NETNS,
    "plugin's netns and netns from CNI_NETNS should not be the same",
    `${request.netns} is the namespace the plugin runs in; nothing was changed`,
  );
}

/** ADD. If the result cannot be printed, the runtime does not know the attachment, so it is undone. */
function printResult(call: Call, plugin: Plugin): void {
  const result = plugin.add(call);
  try {
    print(formatJson(encodeResult(result, call.config.cniVersion)));
  } catch (error) {
    try {
      plugin.del(call);
    } catch (second) {
      warn(`while undoing ADD: ${String(second)}\n`);
    }
    throw error;
  }
}

/** The specification's error object; `version` is the configuration's, or CURRENT_VERSION if that could not be read. */
export function encodeError(error: CniError, version: string): Json {
  const object = jsonObject()
    .with("cniVersion", jsonString(version))
    .with("code", jsonNumber(error.code))
    .with("msg", jsonString(error.message));
  return error.details === "" ? object : object.with("details", jsonString(error.details));
}

/** If a part of a result was printed already, the error goes to standard error: on standard output it would be invalid JSON. */
function printError(error: CniError, input: Uint8Array | null): void {
  const version = input === null ? CURRENT_VERSION : versionForErrors(input, CURRENT_VERSION);
  if (hasPrinted()) warn(`${error.message}; standard output has a part of a result, which is not valid\n`);
  else printLast(`${formatJson(encodeError(error, version))}\n`);
}
