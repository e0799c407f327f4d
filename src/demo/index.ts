/** The demo behind `npm start`. */
export {
  type DemoOptions,
  type DemoPorts,
  type RunningDemo,
  SITE_HOST,
  startDemo,
  VM_HOST,
} from './demo.ts';
export { demoError } from './errors.ts';
export { takeTour } from './tour.ts';
