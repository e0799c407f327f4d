#!/usr/bin/env node
/**
 * The command `orilla`. One file a command, loaded when it is used.
 * @module
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { parseBytes } from '../base/index.ts';
import { packagePath } from '../platform/process/index.ts';
import { keepCompiledCode } from './compiled-code.ts';
import { failWith } from './output.ts';

const { version } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as { version: string };

const dataOption = () =>
  new Option('--data <folder>', 'where this Orilla keeps its data')
    .env('ORILLA_DATA')
    .default('./orilla-data');
const jsonOption = () => new Option('--json', 'print JSON instead of a table');
const portOffsetOption = () =>
  new Option('--port-offset <n>', 'add this to every port, to run beside another Orilla')
    .default(0)
    .argParser((text) => {
      const offset = Number(text);
      if (Number.isInteger(offset) && offset >= 0 && offset <= 57_000) return offset;
      throw new CommanderError(
        2,
        'usage',
        `--port-offset: got "${text}", expected a whole number from 0 to 57000`,
      );
    });

/** The values of an option that may be given several times. */
const collect = (value: string, earlier: readonly string[] = []): string[] => [...earlier, value];

const wholeNumber = (text: string): number => {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('expected a whole number');
};

const byteSize = (text: string): number => {
  const sizeBytes = parseBytes(text);
  if (sizeBytes !== undefined) return sizeBytes;
  throw new InvalidArgumentError('expected a size, for example "256 MiB"');
};

const program = new Command('orilla')
  .description(
    'Turns a Linux box at the edge of a network into the place where applications live next to the people who use them.',
  )
  .version(version, '-V, --version', 'print the version')
  .helpOption('-h, --help', 'print help')
  .showHelpAfterError('(add --help for what there is)')
  .exitOverride()
  .addHelpText(
    'after',
    `
Examples:
  orilla demo                              watch a server move to the edge
  orilla up --config orilla.yaml           run what a configuration names
  orilla vm ls                             the VMs of the Orilla that runs here
  orilla image build web --content ./site --out ./image
                                           make a VM image that serves a folder

Exit status: 0 done, 1 failed, 2 wrong usage or configuration.`,
  );

program
  .command('up')
  .description('run what a configuration names, until SIGTERM or Ctrl-C')
  .option('--config <file>', 'the configuration', 'orilla.yaml')
  .addOption(dataOption())
  .addOption(portOffsetOption())
  .addHelpText(
    'after',
    `
A smallest configuration:

  gateway:
    edgeDomain: edge.example            # VMs are reached as <vm>.edge.example
    origins:
      photos:
        hosts: [photos.example]
        upstream: http://192.0.2.7:9000
        offload:
          tokenFile: photos.token       # made on the first start; for the origin's provider

Logs are JSON lines on standard output. SIGTERM drains and ends; a second one ends at once.`,
  )
  .action(async (options) => (await import('./up.ts')).up({ ...options, version }));

program
  .command('demo')
  .description('start a gateway and a photo site, and show the site moving into a VM at the edge')
  .option('--check', 'take the tour by itself, print each step with its figures, and exit 0 or 1')
  .addOption(dataOption())
  .addOption(portOffsetOption())
  .action(async (options) => (await import('./demo.ts')).demo(options));

const vm = program.command('vm').description('the VMs of the Orilla that runs on this data folder');
vm.command('ls')
  .description('list them')
  .addOption(dataOption())
  .addOption(jsonOption())
  .action(async (options) => (await import('./vm.ts')).listVms(options));
vm.command('run')
  .description('run a VM for an origin, and wait until it serves')
  .argument('<name>', 'a DNS label that you choose')
  .requiredOption('--origin <name>', 'for whom it runs, as `orilla origin ls` shows it')
  .requiredOption(
    '--image <image>',
    'an image that is stored here (name or digest), a folder that holds one, or a URL',
  )
  .option('--cpus <n>', 'processors', wholeNumber, 1)
  .addOption(
    new Option('--memory <size>', 'memory, for example "256 MiB"')
      .default(192 * 2 ** 20, '192 MiB')
      .argParser(byteSize),
  )
  .addOption(
    new Option('--disk <size>', 'a disk of its own, which it keeps').default(0, 'none').argParser(byteSize),
  )
  .addOption(dataOption())
  .action(async (name, options) => (await import('./vm.ts')).runVm(name, options));
vm.command('suspend')
  .description("end a VM's machine for now and keep what it was; its origin serves until it is resumed")
  .argument('<name>', 'as `orilla vm ls` shows it')
  .addOption(dataOption())
  .action(async (name, options) => (await import('./vm.ts')).suspendVm(name, options));
vm.command('resume')
  .description('bring a suspended VM back as it was, or any VM as it was in a snapshot')
  .argument('<name>', 'as `orilla vm ls` shows it')
  .option('--snapshot <label>', 'go back to this snapshot; what came after it is lost')
  .addOption(dataOption())
  .action(async (name, options) => (await import('./vm.ts')).resumeVm(name, options));
vm.command('snapshot')
  .description('keep what a VM is now: its memory and its disks')
  .argument('<name>', 'as `orilla vm ls` shows it')
  .option('--as <label>', 'how the snapshot is called (default: the time)')
  .option('--ls', 'list the snapshots instead')
  .option('--rm <label>', 'remove a snapshot instead')
  .addOption(dataOption())
  .addOption(jsonOption())
  .action(async (name, options) => (await import('./vm.ts')).snapshotVm(name, options));
vm.command('upgrade')
  .description('bring all VMs of an image to another one, some at a time; stops when one fails')
  .requiredOption('--from <image>', 'what they run from: the name or the digest of an image')
  .requiredOption(
    '--to <image>',
    'an image that is stored here (name or digest), a folder that holds one, or a URL',
  )
  .option('--wave <n>', 'how many change at a time', wholeNumber, 1)
  .addOption(dataOption())
  .action(async (options) => (await import('./upgrade.ts')).upgradeVms(options));
vm.command('stop')
  .description('stop a VM and forget it; its origin serves again')
  .argument('<name>', 'as `orilla vm ls` shows it')
  .addOption(dataOption())
  .action(async (name, options) => (await import('./vm.ts')).stopVm(name, options));
vm.command('logs')
  .description("print the end of a guest's console")
  .argument('<name>', 'as `orilla vm ls` shows it')
  .addOption(dataOption())
  .action(async (name, options) => (await import('./vm.ts')).printVmLogs(name, options));

vm.command('exec')
  .description(
    'run a program in the guest of a VM, without a shell; its output and exit status are passed on',
  )
  .argument('<name>', 'as `orilla vm ls` shows it')
  .argument('<argv...>', 'the program and its arguments, after "--"')
  .option('--limit <duration>', 'end it after this time; at most 10 min', '60 s')
  .addOption(dataOption())
  .addHelpText('after', '\nOf each output the first 1 MiB is passed on.')
  .action(async (name, argv, options) => (await import('./vm-guest.ts')).execInVm(name, argv, options));
vm.command('deploy')
  .description('put an application into a VM that runs, in the place of what serves there')
  .argument('<name>', 'as `orilla vm ls` shows it')
  .argument('<source>', 'a file that `orilla app pack` made, or its http(s) URL')
  .addOption(dataOption())
  .action(async (name, source, options) => (await import('./vm-guest.ts')).deployToVm(name, source, options));
vm.command('withdraw')
  .description('take the application out of a VM: what its image serves is back')
  .argument('<name>', 'as `orilla vm ls` shows it')
  .addOption(dataOption())
  .action(async (name, options) => (await import('./vm-guest.ts')).withdrawFromVm(name, options));

const app = program.command('app').description('applications that are put into VMs that run');
app
  .command('key')
  .description('make a pair of keys to sign applications with')
  .requiredOption('--out <file>', 'where the private key is written; the public one goes to <file>.pub')
  .action(async (options) => (await import('./app.ts')).makeKey(options));
app
  .command('pack')
  .description('make one file of a folder that holds application.json, and sign it')
  .argument('<folder>', 'what docs/pool.md says of applications')
  .requiredOption('--out <file>', 'where it is written; the signature goes to <file>.sig')
  .option('--key <file>', 'a private key; without it there is no signature')
  .addHelpText('after', '\nThe same files give the same bytes, and so the same digest.')
  .action(async (folder, options) => (await import('./app.ts')).packFolder(folder, options));

program
  .command('gateway')
  .description('the gateway of the Orilla that runs on this data folder')
  .command('status')
  .description('who serves each site, and what the edge has saved since the start')
  .addOption(dataOption())
  .addOption(jsonOption())
  .action(async (options) => (await import('./gateway.ts')).printGatewayStatus(options));

const origin = program
  .command('origin')
  .description(
    'the origins of the Orilla that runs on this data folder: whose sites pass through its gateway',
  );
origin
  .command('add')
  .description('let a site pass through the gateway from now on, and print the token for its provider')
  .argument('<name>', 'a DNS label that you choose')
  .requiredOption(
    '--host <host>',
    "one of the site's names, without port; may be given several times",
    collect,
  )
  .requiredOption('--upstream <url>', "the provider's server: http://192.0.2.7:9000")
  .option('--max-vms <n>', 'how many VMs it may have here (default: 8)', wholeNumber)
  .option('--max-memory <size>', 'what the memory of its VMs may come to, for example "2 GiB"')
  .option('--image-host <host>', 'a server beside its own from which its images may be fetched', collect)
  .option('--ssh-key <file>', 'public keys that may give commands by SSH in its name', collect)
  .option('--application-key <file>', 'a public key by which its applications are signed', collect)
  .option('--no-offload', 'forward and tag only: it gets no token and cannot load VMs')
  .addOption(dataOption())
  .addHelpText(
    'after',
    `
The token is printed this once; hand it to the provider over a channel that you trust.
Origins of the configuration are changed there; SIGHUP reloads it.`,
  )
  .action(async (name, options) => (await import('./origin.ts')).addOrigin(name, options));
origin
  .command('ls')
  .description('list them')
  .addOption(dataOption())
  .addOption(jsonOption())
  .action(async (options) => (await import('./origin.ts')).listOrigins(options));
origin
  .command('rm')
  .description('forget an origin that was added; its token is refused and its VMs are stopped')
  .argument('<name>', 'as `orilla origin ls` shows it')
  .addOption(dataOption())
  .action(async (name, options) => (await import('./origin.ts')).removeOrigin(name, options));
origin
  .command('rotate')
  .description("change an origin's token: make a new one beside the old, then retire the old with --finish")
  .argument('<name>', 'as `orilla origin ls` shows it')
  .addOption(new Option('--finish', 'retire the old token: tags are signed by the new one').conflicts('now'))
  .option('--now', 'both at once, for a token that others have seen')
  .addOption(dataOption())
  .action(async (name, options) => (await import('./origin.ts')).rotateOrigin(name, options));

const image = program.command('image').description('VM images');
image
  .command('build')
  .description('make an image from Debian packages')
  .argument('<recipe>', '"web": Debian kernel, busybox, and a folder of files served over HTTP')
  .requiredOption('--out <folder>', 'where the image is written; put it on a web server, or import it')
  .option('--name <name>', "the image's name: a DNS label", 'web')
  .option('--content <folder>', 'what the guest serves')
  .addOption(dataOption())
  .addHelpText('after', '\nThe same packages and content give the same bytes, and so the same digest.')
  .action(async (recipe, options) => (await import('./image.ts')).buildImage(recipe, options));
image
  .command('import')
  .description('store an image on this machine')
  .argument('<source>', 'a folder that holds image.json, or the http(s) URL of one')
  .option('--digest <sha256:…>', 'refuse the image unless it has this digest')
  .addOption(dataOption())
  .action(async (source, options) => (await import('./image.ts')).importImage(source, options));
image
  .command('ls')
  .description('list the images that this machine holds')
  .addOption(dataOption())
  .addOption(jsonOption())
  .action(async (options) => (await import('./image.ts')).listImages(options));
image
  .command('rm')
  .description('remove an image')
  .argument('<digest>', 'as `orilla image ls` shows it; the first 8 digits or more are enough')
  .addOption(dataOption())
  .action(async (digest, options) => (await import('./image.ts')).removeImage(digest, options));

program
  .command('doctor')
  .description('look at this machine: what works, what does not, and what to do about it')
  .addOption(dataOption())
  .addOption(portOffsetOption())
  .addOption(jsonOption())
  .action(async (options) => (await import('./doctor.ts')).doctor(options));

// Whoever reads the output may have seen enough: `orilla doctor | head -3`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

program.hook('preAction', (_, command) => {
  const { data } = command.opts<{ data?: string }>();
  if (data !== undefined) keepCompiledCode(data);
});

try {
  await program.parseAsync();
} catch (error) {
  // Help and version end by an exception too; commander has printed what there is to say.
  if (error instanceof CommanderError && error.code !== 'usage')
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  else failWith(error);
}
