mod directory;
mod hostile;
mod names;
