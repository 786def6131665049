"""What the lanes of sources may be told in a recipe, one model and one module each. Imports recipe.strict."""
