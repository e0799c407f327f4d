import { isIP, type LookupFunction } from 'node:net';
import { addressKind, inSubnets } from '../../../platform/sockets/index.ts';
import { forwardError } from './errors.ts';

/** Whether an address may be connected to on behalf of a client. */
export type AddressRule = (address: string) => boolean;

/** The Internet, and of this machine and its networks what the operator named; never what holds a cloud machine's secrets. */
export function addressRule(privateNetworks: readonly string[]): AddressRule {
  const isNamed = inSubnets(privateNetworks);
  return (address) => {
    const kind = addressKind(address);
    return kind === 'public' || (kind === 'local' && isNamed(address));
  };
}

/**
 * Finds the addresses of a name that may be connected to. The connection goes to one of these, so a name that leads elsewhere
 * when it is asked the second time (DNS rebinding) leads nowhere new.
 */
export function checkedLookup(
  resolve: (name: string) => Promise<readonly string[]>,
  mayConnect: AddressRule,
): LookupFunction {
  return (name, options, callback) => {
    resolve(name).then(
      (all) => {
        const allowed = all.filter(mayConnect).map((address) => ({ address, family: isIP(address) }));
        const [first] = allowed;
        // Its addresses are not told: they would show the client what the gateway's network looks like.
        if (!first)
          callback(forwardError('address_forbidden', `${name} has no address that may be asked`), []);
        else if (options.all) callback(null, allowed);
        else callback(null, first.address, first.family);
      },
      (error: Error) => callback(error, []),
    );
  };
}
