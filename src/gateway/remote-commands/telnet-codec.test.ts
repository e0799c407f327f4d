import { describe, expect, it } from 'vitest';
import { TelnetDecoder } from './telnet-codec.ts';

const [IAC, DONT, DO, WONT, WILL, SB, SE] = [255, 254, 253, 252, 251, 250, 240] as const;
const read = (...octets: number[]) => {
  const { text, replies } = new TelnetDecoder().push(Uint8Array.from(octets));
  return { text: [...text], replies: [...replies] };
};

describe('telnet (RFC 854)', () => {
  it.for([
    ['text as it is, and IAC IAC as one octet', [97, IAC, IAC, 98], [97, 255, 98], []],
    ['an offer, which is not taken up', [97, IAC, WILL, 31, 98], [97, 98], [IAC, DONT, 31]],
    ['a wish, which is not granted', [IAC, DO, 3], [], [IAC, WONT, 3]],
    ['the word that the server may echo, which it has offered', [IAC, DO, 1], [], []],
    ['refusals, which are not answered', [IAC, WONT, 31, IAC, DONT, 3], [], []],
    [
      'more of an option, which is left out',
      [97, IAC, SB, 24, 0, IAC, IAC, SE, 65, IAC, SE, 98],
      [97, 98],
      [],
    ],
    ['interrupt and end of file, as ^C and ^D', [IAC, 244, IAC, 236], [3, 4], []],
    ['are you there', [IAC, 246], [], [...Buffer.from('[yes]\r\n')]],
    ['no operation', [IAC, 241, 97], [97], []],
  ] as const)('has %s', ([, octets, text, replies]) => {
    expect(read(...octets)).toEqual({ text, replies });
  });

  it('is read the same wherever it was split', () => {
    const octets = [
      97,
      IAC,
      WILL,
      31,
      IAC,
      SB,
      24,
      1,
      IAC,
      IAC,
      2,
      IAC,
      SE,
      IAC,
      IAC,
      IAC,
      DO,
      1,
      IAC,
      DO,
      5,
      98,
    ];
    const whole = read(...octets);
    for (let at = 0; at <= octets.length; at += 1) {
      const decoder = new TelnetDecoder();
      const [first, second] = [octets.slice(0, at), octets.slice(at)].map((part) =>
        decoder.push(Uint8Array.from(part)),
      );
      expect({
        text: [...(first?.text ?? []), ...(second?.text ?? [])],
        replies: [...(first?.replies ?? []), ...(second?.replies ?? [])],
      }).toEqual(whole);
    }
  });
});
